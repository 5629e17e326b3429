"""Scenarios with guests of their own: other backings, late hints, ends, and the unit tests that need this machine."""
import contextlib
import os
import pty
import signal
import subprocess
import termios
import time
import xml.etree.ElementTree as tree

from registry import require, scenario
from vm import PATIENCE, GuestError, Vm


# --- Shared memory as backing, in a guest that zeroes what it frees -----------------------------------------------------------------------

@scenario(usually="6.12")
def memfd_backing_and_init_on_free_return_memory_too(context):
    with context.vm(memory="320M", arguments=["--backing", "memfd"], append="init_on_free=1") as vm:
        vm.wait_ready(60)
        vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=150 2>/dev/null")
        full = vm.resident_mib()
        vm.check("rm /tmp/fill")
        vm.wait_until(lambda: vm.resident_mib() < full - 100 or f"resident {vm.resident_mib():.0f} of {full:.0f} MiB", 20)


# --- Hints that the host reads late: the schedule that destroys a file on a stock kernel --------------------------------------------------

def file_after_late_hints(context, use):
    """Whether a file that the guest wrote into blocks which it had hinted is whole when the host has used the hints."""
    vm = Vm.__new__(Vm)
    vm.name, vm.runtime = context.next_name(), context.runtime
    vm.start([context.program("late_hints_monitor"), use, context.kernel, context.initrd, "256", "console=ttyS0 quiet panic=-1 mitigations=off"])
    with vm:
        vm.wait_ready(60)
        vm.process.send_signal(signal.SIGHUP)  # a command ID; the queue stays unread
        vm.wait_until(lambda: vm.guest_memory()[1] < 60 or f"{vm.guest_memory()} MiB are free", 20)
        # More than is left: the driver's shrinker takes hinted blocks back.
        written = vm.check("dd if=/dev/urandom of=/tmp/file bs=1M count=64 2>/dev/null; md5sum /tmp/file")
        vm.process.send_signal(signal.SIGUSR2)  # the hints are read
        discarded = int(vm.wait_for(r"LATE-HINTS discarded (\d+) MiB", 30)[0][1])
        require(discarded > 50, f"only {discarded} MiB were discarded: this shows nothing")
        try:
            return vm.check("md5sum /tmp/file") == written
        except GuestError as error:  # it may be the shell's own memory that is gone
            print(f"    the guest came to harm: {error}", flush=True)
            return False


@scenario(usually="6.1")
def late_hints_destroy_a_file_with_a_naive_monitor(context):
    require(not file_after_late_hints(context, "naive"), "the file is whole: the schedule did not show the race, so the next scenario shows nothing")


@scenario(usually="6.1")
def late_hints_harm_no_file_with_a_sweep(context):
    require(file_after_late_hints(context, "shipping"), "the file changed, or the guest came to harm")


# --- Ends, without a whole boot -----------------------------------------------------------------------------------------------------------

def wait_until_it_runs(vm):
    def runs():
        try:
            return vm.status()["uptime_ms"] > 500 or "starts"
        except OSError as error:
            return str(error)

    vm.wait_until(runs, 30)


@scenario(usually="6.1")
def killed_or_interrupted_monitors_leave_nothing(context):
    for sent in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        with context.vm() as vm:
            wait_until_it_runs(vm)
            os.kill(vm.process.pid, sent)
            vm.wait_for_end(10)
            require(not os.path.exists(context.file(vm.name + ".sock")), f"{sent.name}: the socket stayed")
    with context.vm() as vm:
        wait_until_it_runs(vm)
        os.kill(vm.process.pid, signal.SIGKILL)
        vm.wait_for_end(10)
    require(vm.name not in context.cli("ps").stdout, "ps shows a killed VM as running")


class TerminalVm(Vm):
    """A VM whose console is a terminal of its own, which it controls like a shell's job in the foreground."""

    def __init__(self, context):
        self.name, self.runtime, self.log = context.next_name(), context.runtime, []
        self.controller, self.terminal = pty.openpty()
        self.before = termios.tcgetattr(self.terminal)
        self.started = time.monotonic()
        self.process = subprocess.Popen(["setsid", "--ctty", context.binary, "run", "--name", self.name, "--kernel", context.kernel, "--initrd", context.initrd,
                                         "--append", "console=ttyS0"], stdin=self.terminal, stdout=self.terminal, stderr=self.terminal, start_new_session=False)

    def __exit__(self, *_):
        super().__exit__()
        for descriptor in (self.controller, self.terminal):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@scenario(usually="6.12")
def a_terminal_is_put_back_and_its_end_is_the_monitors(context):
    with TerminalVm(context) as vm:
        wait_until_it_runs(vm)
        require(termios.tcgetattr(vm.terminal) != vm.before, "the terminal is not raw: this test would show nothing")
        os.write(vm.controller, b"\x01x")
        require(vm.wait_for_end(10) == 0, "Ctrl-A x did not end it with status 0")
        require(termios.tcgetattr(vm.terminal) == vm.before, "the terminal was not put back")
    with TerminalVm(context) as vm:
        wait_until_it_runs(vm)
        os.kill(vm.process.pid, signal.SIGHUP)
        vm.wait_for_end(10)
        require(termios.tcgetattr(vm.terminal) == vm.before, "the terminal was not put back after SIGHUP")
    with TerminalVm(context) as vm:
        wait_until_it_runs(vm)
        pid = vm.status()["pid"]
        os.close(vm.terminal)
        os.close(vm.controller)  # its window is closed
        vm.wait_for_end(10)
        require(not os.path.exists(f"/proc/{pid}"), "the monitor outlived its terminal")
        require(not os.path.exists(context.file(vm.name + ".sock")), "the socket stayed")


def run_unit_tests(context, program, *flags):
    """Each test is a result of its own. None may be skipped: this machine is here to run them."""
    results = context.file(f"{program}.xml")
    # The root of a testbed's machine has no files without a name (O_TMPFILE), as disks and snapshots use.
    done = subprocess.run([context.program(program), f"--gtest_output=xml:{results}", *flags], capture_output=True, text=True, timeout=60 * PATIENCE, check=False,
                          env={**os.environ, "TMPDIR": "/dev/shm"})
    require(os.path.exists(results), f"no results: status {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    cases = {f"{case.get('classname')}.{case.get('name')}": case for case in tree.parse(results).iter("testcase")}
    skipped = [name for name, case in cases.items() if case.get("result") == "skipped"]
    failed = [name for name, case in cases.items() if case.find("failure") is not None]
    require(not failed and done.returncode == 0, f"status {done.returncode}, failed: {failed}: {done.stdout[-3000:]}")
    require(cases and not skipped, f"{len(cases)} tests, skipped: {skipped}")
    context.parts = [*context.parts, *cases]
    print(f"    {len(cases)} tests")


@scenario(kernels=("6.1",))
def unit_tests_of_kvm(context):
    """On a KVM that runs stock kernels: others emulate what these try."""
    run_unit_tests(context, "kvm_test")


@scenario(kernels=("6.12",))
def unit_tests_of_machines(context):
    """Whole VMs in a test's process, which a machine without /dev/kvm skips; and on a slow machine, where races are seen that others hide."""
    run_unit_tests(context, "machine_test")
    run_unit_tests(context, "programs_test")


@scenario(kernels=("6.1",))
def unit_tests_with_huge_pages(context):
    """Those that most machines skip for want of a pool of huge pages; the testbed's machine can have one."""
    context.drop_guest()
    pool = "/proc/sys/vm/nr_hugepages"
    with open(pool, encoding="ascii") as file:
        before = file.read()
    try:
        with open(pool, "w", encoding="ascii") as file:
            file.write("64")
        run_unit_tests(context, "memory_test", "--gtest_filter=*/Hugetlb")
    finally:
        with open(pool, "w", encoding="ascii") as file:
            file.write(before)
