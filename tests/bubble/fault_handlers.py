"""Guests whose memory another process supplies: by userfaultfd, as Firecracker's mem_backend "Uffd"."""
import contextlib
import os
import pathlib
import subprocess
import sys

from guests import HONEST_DRIVERS, Bubble, Later, Skipped, aerate, path, require

HANDLER = pathlib.Path(__file__).resolve().parent.parent / "conformance/fault_handler.py"


class Handler:
    """The process, and the socket at which it waits for one guest."""

    def __init__(self, name, file):
        self.socket = path(f"{name}.handler")
        self.process = subprocess.Popen([sys.executable, HANDLER, self.socket, file], stdout=subprocess.PIPE)
        self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)


def saved(name, script, **parameters):
    if os.geteuid() != 0 and not os.access("/dev/userfaultfd", os.R_OK | os.W_OK):
        raise Skipped("this user gets no userfaultfd")
    file = path(f"{name}.snap")
    with Bubble(script, **parameters) as vm:
        if script == "churn":
            vm.wait_for("BUBBLE-PROGRESS")
        aerate("snapshot", vm.name, file, "--stop")
        vm.end()
    return file


def supplied():
    """A guest that churns goes on with what its handler has, gives memory back, and is saved again: its pages are its own."""
    said = []
    for driver in HONEST_DRIVERS:
        name = f"supplied-{driver}"
        file, again = saved(name, "churn", seconds=8, driver=driver), path(f"{name}-again.snap")
        with Handler(name, file) as handler, Later(name, "restore", file, "--fault-handler", handler.socket) as vm:
            vm.wait_for("BUBBLE-PROGRESS")
            aerate("balloon", vm.name, "16M")
            aerate("sweep", vm.name)
            aerate("snapshot", vm.name, again, "--stop")
            vm.end()
        with Later(f"{name}-again", "restore", again, "--verify") as vm:
            said.append(vm.ended_well())
    return "; ".join(said)


def F2_a_handler_that_ends_is_a_crash_with_a_reason():  # noqa: N802
    file = saved("unsupplied", "churn", seconds=60)
    with Handler("unsupplied", file) as handler, Later("unsupplied", "restore", file, "--fault-handler", handler.socket) as vm:
        vm.wait_for("BUBBLE-PROGRESS")
        handler.process.kill()
        said, _ = vm.wait_for(r"has crashed.* (the page fault handler .* has ended)")
        require(vm.status()["state"] == "Crashed", f"it is {vm.status()['state']}")
        aerate("stop", "--kill", vm.name)
        vm.end()
    return said[1]
