"""What a monitor can still do when somebody has taken over the code that runs in it: a debugger is that somebody."""
import os
import pathlib
import shutil
import subprocess
import tempfile

from guests import Bubble, Skipped, aerate, path, require
from intruder import Intruder, threads

NOBODY = 65534
EACCES = -13
CLONE_NEWUSER = 0x10000000
READ, SIGTERM = 0, 15
CALLS = {"openat": 257, "socket": 41, "fork": 57, "clone": 56, "execve": 59, "ptrace": 101, "unshare": 272, "kill": 62, "open": 2, "mmap": 9, "process_vm_readv": 310,
         "bpf": 321, "setuid": 105, "io_uring_setup": 425, "mount": 165, "connect": 42}
HERE = -100 & (1 << 64) - 1

# By thread: a call, its arguments, and what may come of it. An error by name, or the end of the process.
FATAL = ("SIGSYS",)
ESCAPES = {
    "every": (("fork", (), FATAL), ("clone", (CLONE_NEWUSER | 17,), FATAL), ("execve", (b"/bin/sh", 0, 0), FATAL), ("ptrace", (16, 1), FATAL), ("unshare", (CLONE_NEWUSER,), FATAL),
              ("process_vm_readv", (1, 0, 0, 0, 0, 0), FATAL), ("bpf", (0, 0, 0), FATAL), ("setuid", (0,), FATAL), ("mount", (b"none", b"/", b"tmpfs", 0, 0), FATAL),
              ("mmap", (0, 4096, 7, 0x22, HERE, 0), FATAL), ("kill", (1, 9), FATAL), ("openat", (HERE, b"/etc/shadow", READ, 0), (EACCES,)),
              ("openat", (HERE, b"/etc/passwd", READ, 0), (EACCES,)), ("openat", (HERE, b"NEIGHBOUR", 2, 0), (EACCES,))),
    "vcpu0": (("socket", (2, 1, 0), FATAL), ("socket", (1, 1, 0), FATAL), ("io_uring_setup", (8, 0), FATAL), ("connect", (0, 0, 0), FATAL), ("kill", (1, SIGTERM), FATAL)),
    "balloon": (("socket", (2, 1, 0), FATAL), ("connect", (0, 0, 0), FATAL)),
    "aerate": (("socket", (16, 3, 0), FATAL), ("socket", (17, 3, 0), FATAL)),
}


def try_escape(vm, neighbour, thread, call, arguments):
    words = tuple(f"/proc/{neighbour.process.pid}/mem".encode() if word == b"NEIGHBOUR" else word for word in arguments)
    intruder = Intruder(threads(monitor_of(vm))[thread])
    result = intruder.call(CALLS[call], *words)
    if isinstance(result, int):
        intruder.leave()
    return result


def monitor_of(vm):
    return vm.status()["pid"]


def escapes():
    """From each thread, whatever an attacker would try is refused, or is the end of the monitor that says what and who."""
    if os.geteuid() != 0:
        raise Skipped("only root can trace a monitor that hides its memory")
    tried = 0
    with Bubble("serial") as neighbour:
        neighbour.wait_for("BUBBLE-READY")
        for thread in ("vcpu0", "balloon", "aerate"):
            for call, arguments, outcomes in ESCAPES["every"] + ESCAPES[thread]:
                with Escaper("escaper") as vm:
                    vm.wait_for("BUBBLE-READY")
                    for _ in range(3):  # a debugger may look before its call is made; what is allowed is so each time
                        result = try_escape(vm, neighbour, thread, call, arguments)
                        if result in outcomes:
                            break
                    require(result in outcomes, f"{thread}: {call}{arguments} comes to {result}, not {outcomes}")
                    if result == "SIGSYS":
                        vm.wait_for(f"the thread '{thread}' made the system call {call} ")
                        require(vm.process.wait(timeout=20) == -31, "it did not end by SIGSYS")
                    else:
                        aerate("stop", "--kill", vm.name)
                        vm.end()
                tried += 1
        neighbour.send("poweroff")
        neighbour.end()
    return f"{tried} attempts"


class Escaper(Bubble):
    """A second VM of the same guest."""

    is_attacked = True

    def __init__(self, name, flags=()):
        self.name, self.runtime = name, os.environ["AERATE_RUNTIME_DIR"]
        self.start([path("aerate"), "run", "--name", name, "--kernel", path("bubble"), "--mem", "64M", "--append", "bubble.script=serial", *flags])


def what_holds():
    """The status says what the kernel says, before the guest runs and after; and --sandbox=off gives nothing up."""
    with Escaper("holds") as vm:
        vm.wait_for("BUBBLE-READY")
        status = vm.status()
        kernel = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{status['pid']}/status").read_text().splitlines() if ":\t" in line)
        require(kernel["NoNewPrivs"] == "1" and kernel["Seccomp"] == "2" and int(kernel["CapEff"], 16) == int(kernel["CapBnd"], 16) == 0, f"{kernel}")
        for thread, task in threads(status["pid"]).items():
            lines = pathlib.Path(f"/proc/{status['pid']}/task/{task}/status").read_text()
            require("Seccomp:\t2" in lines and "CapEff:\t0000000000000000" in lines, f"the thread {thread} is not confined")
        said = status["sandbox"]
        require(said["no_new_privileges"] and not said["capabilities"] and said["memory_hidden"] and said["seccomp"] and "lacks" not in said, f"{said}")
        table = subprocess.run([path("aerate"), "ps"], capture_output=True, text=True, check=True, timeout=20)
        require(any(line.startswith("holds") and line.rstrip().endswith("yes" if said["landlock"] else "partly") for line in table.stdout.splitlines()), table.stdout)
        refused = subprocess.run([path("aerate"), "snapshot", vm.name, "/var/lib/not-allowed.snap"], capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
        require(refused.returncode == 1 and ("--allow DIR" in refused.stderr or not said["landlock"]), f"{refused}")
        vm.send("poweroff")
        vm.end()
    with Escaper("open", ["--sandbox", "off"]) as vm:
        vm.wait_for("BUBBLE-READY")
        require("sandbox" not in vm.status(), "the status says that it is confined")
        vm.send("poweroff")
        vm.end()
    return f"Landlock {said['landlock']}"


def as_any_user():
    """A monitor of a user without privileges is confined as well, over its guest's resets too."""
    if os.geteuid() != 0:
        raise Skipped("only root can become another user")
    kvm = os.stat("/dev/kvm")
    if kvm.st_mode & 0o066 == 0:
        raise Skipped("/dev/kvm is root's alone")
    with tempfile.TemporaryDirectory(prefix="bubble-of-nobody-") as place:
        for name in ("aerate", "bubble"):
            shutil.copy(path(name), place)
        os.chown(place, NOBODY, NOBODY)
        vm = Escaper.__new__(Escaper)
        vm.name, vm.runtime = "nobodys", place
        vm.start(["env", f"AERATE_RUNTIME_DIR={place}", "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={kvm.st_gid}", f"{place}/aerate", "run", "--name", vm.name,
                  "--kernel", f"{place}/bubble", "--mem", "64M", "--append", "bubble.script=serial"])
        with vm:
            vm.wait_for("BUBBLE-READY")
            for _ in range(2):
                status = vm.status()
                require(status["memory"]["monitor_overhead_bytes"] > 0 and status["memory"]["resident_bytes"] > 0, f"its memory is not known: {status['memory']}")
                said = status["sandbox"]
                require(not said["capabilities"] and said["memory_hidden"] and said["seccomp"] and "lacks" not in said, f"{said}")
                vm.send("reboot")
                vm.wait_for("BUBBLE-READY")
            vm.send("poweroff")
            vm.end()
    return "twice"


SCENARIOS = {"confinement_escapes": escapes, "confinement_what_holds": what_holds, "confinement_as_any_user": as_any_user}
