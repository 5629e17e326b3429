"""Processes that wait for a guest: who is let in, who sees them, and how they end."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile

from guests import Later, aerate, path, require
from moves import new_guest

OTHER_USER = 65534


class Receiver(Later):
    """One that was given no name."""

    def __init__(self, *words):
        self.name, self.runtime = None, os.environ["AERATE_RUNTIME_DIR"]
        self.start([path("aerate"), "receive", *words])
        self.name = f"receive-{self.process.pid}"

    def ends_with(self, status):
        ended = self.process.wait(timeout=20)
        require(ended == status, f"aerate receive ended with {ended}, not {status}: {self.log[-5:]}")


def run(*words, **options):
    return subprocess.run([path("aerate"), *words], capture_output=True, text=True, timeout=60, check=False, **options)


def listed():
    return {vm["name"]: vm["state"] for vm in json.loads(run("ps", "--json").stdout)}


def S1_nothing_is_sent_to_or_taken_from_a_stranger():
    """Without a key TCP is refused on both sides, loopback too; a unix socket of another user is sent nothing."""
    with contextlib.ExitStack() as monitors:
        vm = new_guest(monitors)
        for said in (run("receive", "tcp:127.0.0.1:0"), run("migrate", vm.name, "tcp:127.0.0.1:1")):
            require("--psk" in said.stderr and said.returncode != 0, f"loopback without a key: {said}")
        with Receiver("tcp:127.0.0.1:0", "--plain") as plain:
            plain.wait_for("warning.* is plain: whoever can reach it")
        if os.geteuid() != 0:
            return "NOT TESTED with another user: this needs root"
        place = pathlib.Path(monitors.enter_context(tempfile.TemporaryDirectory()))
        place.chmod(0o1777)
        thief = subprocess.Popen(["python3", "-c", "import os, socket, sys; os.umask(0); s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); print('there', flush=True);"
                                  "c = s.accept()[0]; print(len(c.recv(1 << 20)))", str(place / "there")], stdout=subprocess.PIPE, text=True, user=OTHER_USER)
        require(thief.stdout.readline() == "there\n", "nobody listens")
        said = run("migrate", vm.name, f"unix:{place / 'there'}")
        require(said.returncode == 3 and f"user {OTHER_USER} listens" in said.stderr, f"to another user's socket: {said}")
        stolen = thief.communicate(timeout=20)[0]
        require(stolen == "0\n", f"the other user was sent {stolen} bytes")
        require(vm.status()["state"] == "Running", f"{vm.status()}")
        aerate("stop", "--kill", vm.name)
        vm.end()


def C22_a_receiver_is_seen_and_stopped():
    """It is in the list until a guest is here, is stopped as a VM is, and its exit status says what came of it."""
    address = f"unix:{path('there')}"
    with Receiver(address) as waits:
        waits.wait_for("waiting for a guest")
        require(listed() == {waits.name: "Receiving"}, f"{listed()}")
        require("no guest is here yet" in run("pause", waits.name).stderr, "it can be paused")
        aerate("stop", "--wait", "20", waits.name)
        waits.ends_with(3)
    with Later("named", "receive", address) as waits:
        waits.wait_for("waiting for a guest")
        require(listed() == {"named": "Receiving"}, f"{listed()}")
        waits.process.send_signal(signal.SIGINT)
        require(waits.process.wait(20) == 3, "a signal")
    require(listed() == {}, f"{listed()}")
    with Receiver(address, "--wait", "1") as waits:
        waits.wait_for("no guest has come within 1 s")
        waits.ends_with(3)
    with contextlib.ExitStack() as monitors:
        vm = new_guest(monitors)
        once = monitors.enter_context(Receiver(address, "--once"))
        once.wait_for("waiting for a guest")
        with subprocess.Popen([path("aerate"), "migrate", vm.name, address, "--bandwidth", "64K"], stderr=subprocess.PIPE, text=True) as command:
            once.wait_for("the guest bubble is on its way here")
            command.send_signal(signal.SIGINT)
            said = command.communicate(timeout=20)[1]
        require(command.returncode == 3 and "stays here" in said, f"cancelled: {command.returncode} {said}")
        once.ends_with(3)
        require(run("migrate", "nobody", address).returncode == 1, "there is no such VM")
        there = monitors.enter_context(Receiver(address, "--once", "--wait", "60", "--name", "there"))
        there.wait_for("waiting for a guest")
        aerate("migrate", vm.name, address)
        vm.end()
        require(listed() == {"there": "Running"}, f"{listed()}")
        aerate("stop", "--kill", "there")
        there.ends_with(0)


def S5_a_guest_that_is_too_large_is_refused():
    address = f"unix:{path('there')}"
    with contextlib.ExitStack() as monitors:
        vm = new_guest(monitors)
        there = monitors.enter_context(Receiver(address, "--max-memory", "32M"))
        there.wait_for("waiting for a guest")
        said = run("migrate", vm.name, address)
        require(said.returncode == 3 and "at most 32 MiB are accepted here" in said.stderr, f"{said}")
        there.wait_for("the guest has 64 MiB of memory.*still waiting")
        require(vm.status()["state"] == "Running", f"{vm.status()}")
        aerate("stop", "--kill", vm.name)
