#!/usr/bin/env python3
"""Runs the scenarios against one guest kernel, inside whatever machine has a working /dev/kvm.

Each scenario is a function named after what it shows, and raises when something is wrong. Boots are what takes time here, so most
scenarios share one guest with others: they get it as they find it, and leave it with the balloon empty and their files deleted.
"""
import argparse
import contextlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
import xml.etree.ElementTree as tree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from registry import SCENARIOS, require, scenario  # noqa: E402
from vm import PATIENCE, GuestError, Vm  # noqa: E402

class Context:
    """What a scenario gets: makes guests, holds the one that is shared, runs the command line."""

    def __init__(self, arguments):
        self.kernel, self.initrd, self.release = arguments.kernel, arguments.initrd, arguments.release
        self.compiler_initrd = arguments.compiler_initrd
        self.programs = arguments.programs
        self.binary = self.program("aerate")
        self.runtime = os.environ["AERATE_RUNTIME_DIR"]
        self.count = 0
        self.shared, self.shared_name = None, None

    def program(self, name):
        return os.path.join(self.programs, name)

    def next_name(self):
        self.count += 1
        return f"t{self.count}"

    def vm(self, initrd=None, **options):
        return Vm(self.binary, self.kernel, initrd or self.initrd, self.next_name(), **options)

    def other(self, *words):
        """A guest that does not begin with a kernel: what `aerate WORDS... --name NAME` runs."""
        vm = Vm.__new__(Vm)
        vm.name, vm.runtime = self.next_name(), self.runtime
        vm.start([self.binary, *words, "--name", vm.name])
        return vm

    def guest(self, name):
        """The shared guest of that name, booted and ready."""
        if self.shared_name != name or self.shared.process.poll() is not None:
            self.drop_guest()
            self.shared, self.shared_name = GUESTS[name](self), name
            seconds = self.shared.wait_ready(60)
            print(f"    guest '{name}' ready after {seconds:.1f} s", flush=True)
        return self.shared

    def drop_guest(self):
        if self.shared:
            self.shared.__exit__()
        self.shared, self.shared_name = None, None

    def cli(self, *words, check=True):
        done = subprocess.run([self.binary, *words], capture_output=True, text=True, timeout=60 * PATIENCE, check=False)
        if check and done.returncode != 0:
            raise GuestError(f"aerate {' '.join(words)}: status {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def file(self, name):
        return os.path.join(self.runtime, name)


# --- A guest for most of it: two vCPUs, a disk, a read-only disk, statistics every second ------------------------------------------------

def common_guest(context):
    with open(context.file("disk"), "wb") as disk:
        disk.truncate(32 << 20)
    with open(context.file("sealed"), "wb") as sealed:
        sealed.write(os.urandom(1 << 20))
    return context.vm(vcpus=2, arguments=["--stats-interval", "1", "--drive", context.file("disk"), "--drive", context.file("sealed") + ",ro"])


@scenario("common")
def boots_to_init(context, vm):
    release = vm.check("uname -r")
    require(release.startswith(context.release), f"runs kernel {release}, not {context.release}")
    require(vm.check("nproc").strip() == "2", "not two processors online")


@scenario("common")
def linux_drives_packed_rings(_, vm):
    """That they work is what every scenario of this guest shows."""
    ring_packed = 34
    rows = vm.check("cd /sys/bus/virtio/devices; for d in *; do echo $(basename $(readlink $d/driver)) $(cat $d/features); done; cd /").splitlines()
    drivers = dict(row.split() for row in rows if len(row.split()) == 2)
    for driver in ("virtio_balloon", "virtio_blk", "virtio_rng"):
        require(driver in drivers, f"no {driver} in {rows}")
        require(drivers[driver][ring_packed] == "1", f"{driver} has split rings: {drivers[driver]}")


@scenario("common")
def entropy_device_gives_bytes(_, vm):
    require(int(vm.check("dd if=/dev/hwrng bs=512 count=8 2>/dev/null | wc -c")) == 4096, "no bytes from /dev/hwrng")


@scenario("common")
def disk_is_read_and_written(context, vm):
    vm.check("dd if=/dev/urandom of=/tmp/data bs=64k count=100 2>/dev/null")
    vm.check("dd if=/tmp/data of=/dev/vda bs=64k seek=3 conv=fsync 2>/dev/null")
    inside = vm.check("md5sum </tmp/data; rm /tmp/data").split()[0]
    with open(context.file("disk"), "rb") as file:
        file.seek(3 << 16)
        outside = subprocess.run(["md5sum"], input=file.read(100 << 16), capture_output=True, check=True).stdout.decode().split()[0]
    require(inside == outside, "the disk holds other bytes than the guest wrote")
    other = subprocess.run(["md5sum", context.file("sealed")], capture_output=True, text=True, check=True).stdout.split()[0]
    require(vm.check("md5sum </dev/vdb").split()[0] == other, "the guest reads other bytes from the read-only disk")
    require(vm.run("dd if=/dev/zero of=/dev/vdb bs=4k count=1 conv=fsync 2>/dev/null")[0] != 0, "the read-only disk was written")


@scenario("common")
def statistics_arrive_and_follow_the_guest(_, vm):
    def free_below(limit):
        values = vm.api("GET", "/balloon/statistics")
        free = values.get("free_memory")
        return True if free is not None and free < limit else f"{values}"

    vm.wait_until(lambda: free_below(1 << 40), 10)
    before = vm.api("GET", "/balloon/statistics")["free_memory"]
    vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=150 2>/dev/null")
    vm.wait_until(lambda: free_below(before - (120 << 20)), 10)
    vm.check("rm /tmp/fill")


@scenario("common")
def top_shows_the_guest_on_a_terminal(context, vm):
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 120))
    before = termios.tcgetattr(terminal)
    process = subprocess.Popen([context.binary, "top"], stdin=terminal, stdout=terminal, stderr=terminal)
    shown = b""
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: (process.poll() is None and process.kill(), os.close(controller), os.close(terminal)))
        deadline = time.monotonic() + 20 * PATIENCE
        while vm.name.encode() not in shown or b"RESIDENT" not in shown.upper():
            require(time.monotonic() < deadline, f"no frame with {vm.name}: {shown[-600:]}")
            if select.select([controller], [], [], 0.5)[0]:
                shown += os.read(controller, 65536)
        os.write(controller, b"q")
        deadline = time.monotonic() + 10 * PATIENCE
        while process.poll() is None and time.monotonic() < deadline:
            if select.select([controller], [], [], 0.1)[0]:
                os.read(controller, 65536)
        require(process.poll() == 0, f"after q it ended with {process.poll()}")
        require(termios.tcgetattr(terminal) == before, "the terminal was not put back")


@scenario("common")
def freed_memory_returns_to_the_host(_, vm):
    # What the scenarios before this one freed comes back first.
    base = vm.resident_mib()
    for _round in range(6):
        time.sleep(2.2)
        last, base = base, vm.resident_mib()
        if last - base < 4:
            break
    vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=250 2>/dev/null")
    full = vm.resident_mib()
    require(full - base > 225, f"250 MiB written, but resident went from {base:.0f} to {full:.0f} MiB only")
    vm.check("rm /tmp/fill")
    limit = base + 0.05 * base + 16

    def settled():
        resident = vm.resident_mib()
        return True if resident <= limit else f"resident {resident:.0f} MiB, limit {limit:.0f}"

    seconds = vm.wait_until(settled, 8)
    print(f"    resident {base:.0f} -> {full:.0f} -> {vm.resident_mib():.0f} MiB, settled in {seconds:.1f} s")
    require(vm.check("md5sum /proc/version").strip() != "", "the guest no longer answers")


@scenario("common")
def balloon_inflates_deflates_and_counts(_, vm):
    vm.set_balloon(120)
    require(vm.status()["memory"]["ballooned_bytes"] == 120 << 20, f"ballooned is {vm.status()['memory']['ballooned_bytes']}, not 120 MiB")
    free_then = vm.guest_memory()[1]
    vm.set_balloon(0)
    # Not all of it, and not at once: per-CPU lists, which MemFree leaves out, may keep some tens of MiB of freed pages.
    vm.wait_until(lambda: vm.guest_memory()[1] - free_then > 70 or f"free {free_then:.0f} MiB inflated, {vm.guest_memory()[1]:.0f} deflated", 20, 1)
    print(f"    free {free_then:.0f} MiB inflated, {vm.guest_memory()[1]:.0f} MiB deflated")


@scenario("common")
def hints_are_counted_and_the_guest_gets_its_pages_back(_, vm):
    free_before = vm.guest_memory()[1]
    vm.api("PATCH", "/balloon/hinting/start", {"acknowledge_on_stop": False})

    def hinted():
        status = vm.api("GET", "/balloon/hinting/status")
        return True if vm.status()["memory"]["hinted_bytes"] > 100 << 20 and status["guest_cmd"] in (0, None) else f"{status} {vm.status()['memory']}"

    vm.wait_until(hinted, 20)
    held = vm.guest_memory()[1]
    require(held < free_before - 100, f"hinting left {held:.0f} MiB free of {free_before:.0f}")
    vm.api("PATCH", "/balloon/hinting/stop", {})
    vm.wait_until(lambda: vm.guest_memory()[1] > free_before - 40 or f"{vm.guest_memory()}", 20)
    print(f"    free {free_before:.0f} MiB, {held:.0f} MiB while hinted; hinted {vm.status()['memory']['hinted_bytes'] / 2**20:.0f} MiB")


@scenario("common")
def pause_stops_the_guest_and_resume_goes_on(context, vm):
    context.cli("pause", vm.name)
    require(vm.status()["state"].lower() == "paused", f"state is {vm.status()['state']}")
    vm.send("echo alive")
    time.sleep(1.5)
    require(not any("alive" in line for line in vm.log), "a paused guest answered")
    context.cli("resume", vm.name)
    vm.wait_for("alive", 20)
    vm.wait_for("##END", 20)


@scenario("common")
def driver_rebind_with_inflated_balloon(_, vm):
    vm.set_balloon(48)
    vm.check("cd /sys/bus/virtio/drivers/virtio_balloon; d=$(ls -d virtio*); echo $d > unbind")
    require(vm.status()["memory"]["ballooned_bytes"] == 0, "the device kept page numbers over a reset")
    vm.check("echo $d > bind; cd /")
    vm.wait_until(lambda: vm.status()["balloon"]["actual_bytes"] == 48 << 20 or f"{vm.status()['balloon']}", 60)
    vm.set_balloon(0)


@scenario("common")
def soak_keeps_every_file_intact(_, vm):
    """Fills, frees, balloons and hints for a while; a file that stays must keep its checksum."""
    # What the kernel said while it booted is not ours: under the testbed's emulation it warns of its XSAVE area.
    vm.check("dmesg -c >/dev/null; dd if=/dev/urandom of=/tmp/keep bs=1M count=16 2>/dev/null")
    digest = vm.check("md5sum </tmp/keep")
    deadline = time.monotonic() + 12
    rounds = 0
    while time.monotonic() < deadline or rounds < 2:
        vm.api("PATCH", "/balloon/hinting/start", {})
        vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=80 2>/dev/null")
        vm.api("PATCH", "/balloon", {"amount_mib": 60 * (rounds % 2)})
        vm.check("rm /tmp/fill")
        require(vm.check("md5sum </tmp/keep") == digest, f"round {rounds}: the file's checksum changed")
        rounds += 1
    complaints = vm.check("dmesg | grep -iE 'WARNING|BUG:|virtio.*(error|broken)' || true").strip()
    require(complaints == "", f"the kernel complains: {complaints}")
    vm.check("rm /tmp/keep")
    vm.set_balloon(0)
    print(f"    {rounds} rounds")


@scenario("common")
def reboot_boots_again_and_no_caller_notices(_, vm):
    vm.set_balloon(48)
    connection = vm.connect()
    vm.send("reboot -f")
    # One caller keeps its connection, one makes a new one each time: each request has its answer, before, during and after the reset.
    deadline, uptime, went_back = time.monotonic() + 60 * PATIENCE, 0, False
    while not went_back:
        require(time.monotonic() < deadline, "the guest did not reset")
        status = vm.api("GET", "/aerate/status", connection=connection)
        went_back = status["uptime_ms"] < uptime
        uptime = status["uptime_ms"]
        vm.api("PATCH", "/balloon", {"amount_mib": 32})
    require(vm.api("GET", "/aerate/status", connection=connection)["state"].lower() == "running", "not running after the reboot")
    connection.close()
    vm.wait_ready(60)
    vm.wait_until(lambda: vm.status()["balloon"]["actual_bytes"] == 32 << 20 or f"{vm.status()['balloon']}", 60)


@scenario("common")
def power_button_ends_the_monitor_with_status_0(context, vm):
    context.cli("stop", vm.name)
    require(vm.wait_for_end(60) == 0, "the monitor did not end with status 0")


def squeezed_guest(context):
    with open(context.file("disk"), "wb") as disk:
        disk.truncate(256 << 20)
    return context.vm(memory="512M", arguments=["--drive", context.file("disk"), "--stats-interval", "1"])


@scenario("squeezed")
def squeeze_pushes_the_page_cache_out(context, vm):
    """The guest's own pages stay, its cache goes to the host, it keeps its size, and nobody in it is killed."""
    vm.check("dd if=/dev/urandom of=/tmp/kept bs=1M count=40 2>/dev/null")
    kept = vm.check("md5sum </tmp/kept")
    vm.check("exec 3</dev/vda; dd of=/dev/null bs=1M <&3 2>/dev/null")  # what is cached of a disk goes when nobody has it open
    total, _, _ = vm.guest_memory()
    cached, before = int(vm.check("awk '/^Buffers|^Cached/ {sum += $2} END {print sum}' /proc/meminfo").split()[-1]) / 1024, vm.resident_mib()
    require(cached > 250, f"the guest caches {cached:.0f} MiB: this would show nothing")
    with subprocess.Popen([context.binary, "squeeze", vm.name, "--keep", "64M", "--json"], stdout=subprocess.PIPE, text=True) as command:
        refusals = 0
        while command.poll() is None:
            refusals += "a squeeze is under way" in str(vm.api("PATCH", "/balloon", {"amount_mib": 0}, expect=None))
            time.sleep(0.3)
        report = json.loads(command.stdout.read())
    after, (total_after, _, available) = vm.resident_mib(), vm.guest_memory()
    print(f"    {cached:.0f} MiB cached, resident {before:.0f} -> {after:.0f} MiB in {report['duration_us'] / 1e6:.1f} s, {report['stopped_by'] or 'to the end'}", flush=True)
    require(after < before - 170, f"resident went from {before:.0f} to {after:.0f} MiB only: {report}")
    require(total_after == total, f"the guest's size went from {total} to {total_after}")
    require(available > 250, f"the guest has {available:.0f} MiB")
    require(refusals > 0, "the balloon's target could be set meanwhile")
    require(vm.check("md5sum </tmp/kept") == kept, "a file changed")
    require("Killed process" not in vm.check("dmesg"), "a process was killed")
    vm.check("exec 3<&-; rm /tmp/kept")


@scenario("squeezed")
def squeeze_stops_short_of_want(context, vm):
    """A guest whose memory is in use has little to give; asked for all of it, the balloon must not take what is needed."""
    vm.check("dd if=/dev/urandom of=/tmp/used bs=1M count=200 2>/dev/null")
    used = vm.check("md5sum </tmp/used")
    print("    " + context.cli("squeeze", vm.name, "--keep", "0").stdout.strip(), flush=True)
    require(vm.check("md5sum </tmp/used; rm /tmp/used").startswith(used.strip()), "a file changed")
    require("Killed process" not in vm.check("dmesg"), "a process was killed")
    require(vm.status()["balloon"]["actual_bytes"] == 0, f"the balloon was not let go: {vm.status()['balloon']}")


# --- A guest from a configuration file, without reporting ---------------------------------------------------------------------------------

def configured_guest(context):
    path, name = context.file("vm.json"), context.next_name()
    with open(path, "w", encoding="ascii") as file:
        json.dump({"boot-source": {"kernel_image_path": context.kernel, "initrd_path": context.initrd,
                                   "boot_args": "console=ttyS0 quiet panic=-1 mitigations=off from.file=1"},
                   "machine-config": {"vcpu_count": 1, "mem_size_mib": 256},
                   "balloon": {"amount_mib": 0, "deflate_on_oom": True, "free_page_reporting": False, "free_page_hinting": True}}, file)
    vm = Vm.__new__(Vm)
    vm.name, vm.runtime = name, context.runtime
    vm.start([context.binary, "run", "--name", name, "--config", path])
    return vm


@scenario("configured")
def run_takes_a_configuration_file(_, vm):
    require("from.file=1" in vm.check("cat /proc/cmdline"), "the command line is not the file's")
    require(vm.status()["memory"]["guest_size_bytes"] == 256 << 20, "the memory is not the file's")


@scenario("configured")
def without_reporting_the_host_keeps_it(_, vm):
    vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=120 2>/dev/null; rm /tmp/fill")
    time.sleep(5)
    resident = vm.resident_mib()
    require(resident > 120, f"resident is {resident:.0f} MiB: the test of reporting would show nothing")


@scenario("configured")
def sweep_gives_free_memory_back_at_once(context, vm):
    """Without the guest's reports. Debian's kernels clear each block that they hint (init_on_alloc)."""
    vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=120 2>/dev/null; rm /tmp/fill")
    vm.check("dd if=/dev/urandom of=/tmp/kept bs=1M count=8 2>/dev/null")
    before, kept = vm.resident_mib(), vm.check("md5sum /tmp/kept")
    print(context.cli("sweep", vm.name).stdout.strip(), flush=True)
    after = vm.resident_mib()
    require(after < before - 80, f"resident went from {before:.0f} to {after:.0f} MiB only")
    idle = after - (256 - vm.guest_memory()[1])
    require(idle < 12, f"{idle:.0f} MiB that the guest does not use are still resident: small blocks were left")
    require(vm.check("md5sum /tmp/kept; rm /tmp/kept").startswith(kept), "a file changed")
    vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=120 2>/dev/null; rm /tmp/fill")  # the guest has its pages


@scenario("configured")
def power_off_ends_the_monitor_with_status_0(_, vm):
    require(vm.power_off() == 0, "power-off did not end the monitor with status 0")


# --- A large guest: as many vCPUs as there may be under one kernel, memory above 4 GiB ----------------------------------------------------

LARGE_VCPUS = {"6.1": 32, "6.12": 4}


def large_guest(context):
    return context.vm(memory="5G", vcpus=LARGE_VCPUS[context.release])


@scenario("large")
def all_vcpus_come_up(context, vm):
    count = LARGE_VCPUS[context.release]
    require(vm.check("nproc").strip() == str(count), f"not {count} processors online")
    vm.check(f"for i in $(seq {count}); do echo $i | md5sum & done; wait", 120)


@scenario("large")
def memory_above_4_gib_is_seen_and_returned(_, vm):
    total = vm.guest_memory()[0]
    require(total > 4700, f"the guest sees {total:.0f} MiB of 5120")
    vm.set_balloon(64)


# --- Shared memory as backing, in a guest that zeroes what it frees -----------------------------------------------------------------------

@scenario()
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
        vm.process.send_signal(signal.SIGUSR1)  # a command ID; the queue stays unread
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


@scenario()
def late_hints_destroy_a_file_with_a_naive_monitor(context):
    require(not file_after_late_hints(context, "naive"), "the file is whole: the schedule did not show the race, so the next scenario shows nothing")


@scenario()
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


@scenario()
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


@scenario()
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
    done = subprocess.run([context.program(program), f"--gtest_output=xml:{results}", *flags], capture_output=True, text=True, timeout=60 * PATIENCE, check=False)
    require(os.path.exists(results), f"no results: status {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    cases = {f"{case.get('classname')}.{case.get('name')}": case for case in tree.parse(results).iter("testcase")}
    skipped = [name for name, case in cases.items() if case.get("result") == "skipped"]
    failed = [name for name, case in cases.items() if case.find("failure") is not None]
    require(not failed and done.returncode == 0, f"status {done.returncode}, failed: {failed}: {done.stdout[-3000:]}")
    require(len(cases) >= 10 and not skipped, f"{len(cases)} tests, skipped: {skipped}")
    context.parts = list(cases)
    print(f"    {len(cases)} tests")


@scenario(kernels=("6.1",))
def unit_tests_of_kvm(context):
    """On a KVM that runs stock kernels: others emulate what these try."""
    run_unit_tests(context, "kvm_test")


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


GUESTS = {"common": common_guest, "squeezed": squeezed_guest, "configured": configured_guest, "large": large_guest}


LONGEST_ATTEMPT = 180  # seconds; the longest takes half of it. A machine that hangs does not get that far: see run


def give_up(*_):
    raise GuestError(f"not done in {LONGEST_ATTEMPT} s")


def attempt_scenario(function, context):
    """None, or what went wrong: a scenario that breaks in any way has failed."""
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST_ATTEMPT)
    try:
        if function.guest:
            function(context, context.guest(function.guest))
        else:
            context.drop_guest()
            function(context)
    except Exception as caught:
        signal.alarm(0)
        context.drop_guest()  # whoever is next gets a fresh one
        return f"{type(caught).__name__}: {caught}"
    finally:
        signal.alarm(0)
    return None


def run_scenario(function, context):
    """The result as a line of the results file."""
    began, error = time.monotonic(), None
    context.parts = []
    print(f"[ {context.release} ] {function.__name__}", flush=True)
    # The testbed's emulation is known to break guests and its own kernel now and then, under any monitor: only there
    # a scenario has a second try, and the log says what the first one met.
    tries = 2 if "AERATE_IN_TESTBED" in os.environ else 1
    for attempt in range(1, tries + 1):
        error = attempt_scenario(function, context)
        if error is None:
            break
        print(f"    try {attempt} of {tries}: {error}", flush=True)
    seconds = round(time.monotonic() - began, 1)
    print(f"    {'FAILED: ' + error if error else 'ok'}, {seconds} s", flush=True)
    return {"name": function.__name__, "seconds": seconds, "error": error, "parts": context.parts}


# Snapshots and migrations, which come last: they are told of in a file of their own.
import moving  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True, help="the directory of aerate and of the test programs that scenarios run")
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--initrd", required=True)
    parser.add_argument("--compiler-initrd", required=True, help="an initramfs that has a compiler too")
    parser.add_argument("--release", required=True, help="what uname -r begins with")
    parser.add_argument("--results", required=True, help="file that gets a line of JSON for each finished scenario")
    parser.add_argument("--list", metavar="RELEASE", help="print the names of the scenarios for that kernel and end")
    parser.add_argument("names", nargs="*", help="scenarios to run; all by default")
    if "--list" in sys.argv:
        print("\n".join(function.__name__ for function in SCENARIOS if sys.argv[-1] in function.kernels))
        return 0
    arguments = parser.parse_args()

    runtime = tempfile.mkdtemp(prefix="aerate-test-")
    os.environ["AERATE_RUNTIME_DIR"] = runtime
    os.environ["AERATE_TESTBED"] = "never"
    context = Context(arguments)
    failures = 0
    # A line a finished scenario: whoever started this machine learns what is left to do should the machine itself die.
    with open(arguments.results, "a", encoding="utf-8") as results:
        for function in SCENARIOS:
            if arguments.release not in function.kernels or function.__name__ not in (arguments.names or [function.__name__]):
                continue
            result = run_scenario(function, context)
            failures += result["error"] is not None
            results.write(json.dumps(result) + "\n")
            results.flush()
            os.fsync(results.fileno())
    context.drop_guest()
    with contextlib.suppress(OSError):
        shutil.rmtree(runtime)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
