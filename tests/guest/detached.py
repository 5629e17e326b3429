"""Scenarios of guests that have no terminal: started with --detach, seen through `aerate console` and `aerate ssh`."""
import contextlib
import os
import signal
import subprocess

from registry import require, scenario
from vm import PATIENCE, Vm


class Terminal(Vm):
    """A VM through an `aerate console` that is attached to it: the process is that."""

    def __init__(self, context, name):
        self.name, self.runtime = name, context.runtime
        self.start([context.binary, "console", name])


@contextlib.contextmanager
def detached(context, *words):
    """A terminal of a VM whose command has returned."""
    name = context.next_name()
    said = context.cli(*words, "--allow", context.runtime, "--name", name, "--detach").stdout
    require(f"{name} runs" in said, f"the command says {said!r}")
    with Terminal(context, name) as terminal:
        pid = terminal.status()["pid"]
        try:
            require(os.getsid(pid) == pid, "the monitor is in a session of somebody else's")
            yield terminal
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def asked_of_ssh(context, *words):
    """ssh itself is not in these guests: what it is asked for is, and that its exit status is the command's."""
    directory = context.file("stub")
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "ssh"), "w", encoding="utf-8") as stub:
        stub.write('#!/bin/sh\necho "$@"\nexit 7\n')
    os.chmod(stub.name, 0o755)
    return subprocess.run([context.binary, "ssh", *words], env=os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"},
                          capture_output=True, text=True, timeout=60 * PATIENCE, check=False)


@scenario(usually="6.1")
def detached_guest_has_a_console_and_a_way_in(context):
    """The command returns, terminals come and go, a reset changes nothing for them; a clone has its own; ssh is led to the forwarded port."""
    boot = ["--kernel", context.kernel, "--initrd", context.initrd, "--append", "console=ttyS0 quiet panic=-1 mitigations=off"]
    with detached(context, "run", *boot, "--net", "user,forward=7022:22") as first:
        first.wait_ready()
        first.check("echo kept >/tmp/word")
        with Terminal(context, first.name) as vm:
            vm.wait_ready(20)  # it shows what was said before it came
            vm.wait_for("##END 0", 20)
            require(first.process.wait(20 * PATIENCE) == 0, "the terminal before was not taken off")
            require("kept" in vm.check("cat /tmp/word"), "the second terminal reaches another guest")
            again = context.cli("run", *boot, "--name", vm.name, "--detach", check=False)
            require(again.returncode == 1 and "already running" in again.stderr, f"a second one of its name: {again}")
            require(vm.name in context.cli("ps").stdout, "aerate ps does not list it")
            asked = asked_of_ssh(context, vm.name, "ls", "-l")
            require(asked.returncode == 7 and "-p 7022" in asked.stdout and asked.stdout.endswith("127.0.0.1 ls -l\n"), f"ssh is asked {asked}")

            context.cli("snapshot", vm.name, context.file("detached.snap"))
            with detached(context, "restore", context.file("detached.snap"), "--net", "net0=user", "--files", context.runtime) as clone:
                require("kept" in clone.check("cat /tmp/word"), "the clone is another guest")
                context.cli("stop", clone.name, "--kill")
                require(clone.process.wait(20 * PATIENCE) == 0, "the console outlives its VM")

            vm.send("reboot -f")
            vm.wait_ready()
            require(vm.run("cat /tmp/word")[0] != 0, "the guest was not reset")
            require(vm.process.poll() is None, "the reset took the terminal off")


@scenario(usually="6.12")
def detached_start_that_fails_says_why(context):
    refused = context.cli("run", "--kernel", "/nonexistent", "--name", "none", "--detach", check=False)
    require(refused.returncode == 1 and "/nonexistent" in refused.stderr, f"what fails is not said: {refused}")
    with context.vm() as vm:
        vm.wait_ready()
        told = context.cli("console", vm.name, check=False)
        require(told.returncode == 1 and "the terminal that it was started from" in told.stderr, f"not refused: {told}")
        told = context.cli("ssh", vm.name, check=False)
        require(told.returncode == 1 and "forward=2222:22" in told.stderr, f"not refused: {told}")
