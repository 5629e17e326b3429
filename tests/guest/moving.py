"""Scenarios in which a guest is saved, restored, cloned or moved while it works."""
import contextlib
import os
import re
import signal
import subprocess
import time

from registry import require, scenario
from vm import PATIENCE

# Writes files of random bytes, checks those that are there and deletes them, for ever; says so in /tmp/checked, and stops at the first
# that is not as it was written.
CHECKER = ("(n=0; while :; do n=$((n+1)); dd if=/dev/urandom of=/tmp/w$((n%4)) bs=256k count=16 2>/dev/null; md5sum /tmp/w$((n%4)) >/tmp/s$((n%4));"
           " for f in /tmp/s?; do md5sum -c $f >/dev/null 2>&1 || { echo $f >/tmp/damaged; exit; }; done; echo $n >/tmp/checked; done) >/dev/null 2>&1 &")


def checked(vm):
    """How often the checker has been round; fails when it has found damage."""
    status, said = vm.run("test ! -e /tmp/damaged && cat /tmp/checked", 60)
    # A guest that was reset, which the emulated machine does to guests now and then, has none of the files.
    require(status == 0, f"the checker's files: {said}; the console: {vm.log[-8:]}; up for {vm.status()['uptime_ms']} ms")
    return int(said.split()[-1])  # last of all: the monitor may have a word on the same console


def wait_for_checks(vm, count):
    before = checked(vm)
    vm.wait_until(lambda: checked(vm) >= before + count or f"{checked(vm) - before} rounds of the checker", 60, 1)


def prepare(context, vm):
    """A guest with a file to recognise, 200 MiB that it has used and freed, and a checker at work."""
    vm.wait_ready(60)
    vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=200 2>/dev/null; rm /tmp/fill")
    digest = vm.check("dd if=/dev/urandom of=/tmp/keep bs=1M count=24 2>/dev/null; md5sum </tmp/keep")
    vm.check("dd if=/tmp/keep of=/dev/vda bs=1M conv=fsync 2>/dev/null")
    vm.send(CHECKER)
    vm.wait_for(r"##END", 20)
    vm.wait_until(lambda: vm.run("test -e /tmp/checked")[0] == 0 or "the checker has not begun", 60, 1)
    return digest


def require_same_guest(context, vm, digest):
    require(vm.check("md5sum </tmp/keep") == digest, "a file in memory has changed")
    require(vm.check("echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda bs=1M count=24 2>/dev/null | md5sum") == digest, "the disk reads otherwise")
    complaints = vm.check("dmesg | grep -iE 'BUG:|lockup|rcu.*stall|virtio.*(error|broken)' || true").strip()
    require(complaints == "", f"the kernel complains: {complaints}")


def with_disk(context):
    with open(context.file("disk"), "wb") as disk:
        disk.truncate(32 << 20)
    return ["--drive", context.file("disk"), "--stats-interval", "1"]


def given_back(vm, limit):
    counters = {counter["name"]: counter["value"] for counter in vm.status()["counters"] if "discard" in counter["name"] or "reported" in counter["name"]}
    return f"resident {vm.resident_mib():.0f} MiB, limit {limit:.0f}; {counters}"


@scenario()
def a_snapshot_goes_on_where_it_was(context):
    """Two generations, the second from a diff and with an inflated balloon. Devices, statistics and reports work in each."""
    file, balloon = context.file("one.snap"), 0
    with context.vm(memory="512M", arguments=with_disk(context)) as vm:
        digest = prepare(context, vm)
        used = 512 - vm.guest_memory()[1]  # what the kernel keeps to itself included
        print("    " + context.cli("snapshot", vm.name, file, "--sweep", "--stop", "--force").stdout.strip(), flush=True)
        require(vm.wait_for_end(30) == 0, "the monitor did not end with status 0")
    size = os.stat(file).st_blocks * 512 / 2**20
    print(f"    the file takes {size:.0f} MiB, the guest used {used:.0f}", flush=True)
    boots = (os.stat(context.kernel).st_size + os.stat(context.initrd).st_size) / 2**20  # go along, so that it can reset itself
    require(size < used * 1.05 + 24 + boots, f"the file takes {size:.0f} MiB, the guest used {used:.0f} and boots {boots:.0f}")
    for generation in (1, 2):
        diff = ["--diff"] if generation == 1 else []
        with context.other("restore", file, "--verify", *(["--track-dirty"] if diff else [])) as vm:
            vm.check("true", 60)
            print(f"    generation {generation}: a command's answer {time.monotonic() - vm.started:.2f} s after the start of the monitor", flush=True)
            wait_for_checks(vm, 2)
            require_same_guest(context, vm, digest)
            require(vm.status()["balloon"]["actual_bytes"] == balloon << 20, f"the balloon holds {vm.status()['balloon']}, not {balloon} MiB")
            # Slow where writes are tracked; and of few pages Linux reports fewer.
            fill, less = (64, 4) if diff else (120, 30)
            vm.check(f"dd if=/dev/zero of=/tmp/fill bs=1M count={fill} 2>/dev/null")
            full = vm.resident_mib()
            vm.check("rm /tmp/fill")
            vm.wait_until(lambda limit=full - less, guest=vm: guest.resident_mib() < limit or given_back(guest, limit), 12)
            balloon = 60 * generation
            vm.set_balloon(balloon)
            asked = vm.status()["balloon"]["statistics"] if "statistics" in vm.status()["balloon"] else vm.api("GET", "/balloon/statistics")
            require(asked.get("total_memory"), f"no statistics: {asked}")
            context.cli("sweep", vm.name)
            wait_for_checks(vm, 1)
            file = context.file(f"generation{generation}.snap")
            context.cli("snapshot", vm.name, file, *diff, "--stop", "--force")
            require(vm.wait_for_end(30) == 0, "the monitor did not end with status 0")
            print(f"    the {'diff' if diff else 'file'} takes {os.stat(file).st_blocks * 512 / 2**20:.0f} MiB", flush=True)


@scenario(kernels=("6.12",))
def clones_share_what_they_do_not_write(context):
    file, count = context.file("clone.snap"), 20
    with context.vm(memory="256M") as vm:
        vm.wait_ready(60)
        digest = vm.check("dd if=/dev/urandom of=/tmp/keep bs=1M count=60 2>/dev/null; md5sum </tmp/keep")
        single = vm.resident_mib()
        context.cli("snapshot", vm.name, file, "--stop", "--force")
        vm.wait_for_end(30)
    clones = []
    try:
        for _ in range(count):
            clones.append(context.other("restore", file))
        for clone in clones:
            require(clone.check("md5sum </tmp/keep", 120) == digest, "a clone reads other bytes")
        together = 0
        for clone in clones:
            with open(f"/proc/{clone.process.pid}/smaps_rollup", encoding="ascii") as rollup:
                together += int(re.search(r"^Pss:\s+(\d+)", rollup.read(), re.M)[1]) / 1024
        print(f"    {count} clones cost {together:.0f} MiB together, the guest alone cost {single:.0f}", flush=True)
        require(together < 2 * single, f"{count} clones cost {together:.0f} MiB, one {single:.0f}")
        clones[0].check("dd if=/dev/urandom of=/tmp/keep bs=1M count=60 2>/dev/null")
        require(clones[1].check("md5sum </tmp/keep") == digest, "what one clone wrote is in another")
    finally:
        for clone in clones:
            clone.__exit__()


@scenario(kernels=("6.12",))  # Debian's 6.1 cloud kernel has no driver for it
def C9_clones_draw_different_random_numbers(context):
    file = context.file("random.snap")
    with context.vm(memory="256M") as vm:
        vm.wait_ready(60)
        require("VMGENCTR:00" in vm.check("ls /sys/bus/acpi/devices"), "the guest has no generation ID")
        context.cli("snapshot", vm.name, file)
        require("virtual machine fork" not in vm.check("dmesg"), "the one that was saved was told that it is a copy")
        vm.power_off()
    drawn = []
    for _ in range(2):
        with context.other("restore", file) as clone:
            clone.wait_until(lambda: "virtual machine fork" in clone.check("dmesg", 60) or "not told", 10)  # pylint: disable=cell-var-from-loop
            drawn.append(clone.check("cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/uuid; head -c 32 /dev/urandom | md5sum").split())
    require(not set(drawn[0]) & set(drawn[1]) - {"-"}, f"both clones drew {drawn[0]}")


@scenario()
def a_guest_at_work_moves_and_moves_back(context):
    with contextlib.ExitStack() as monitors:
        vm = monitors.enter_context(context.vm(memory="512M", arguments=with_disk(context)))
        digest = prepare(context, vm)
        for address, *plain in ([f"unix:{context.file('there')}"], ["tcp:127.0.0.1:4711", "--plain"]):
            there = monitors.enter_context(context.other("receive", address, *plain))
            there.wait_for("waiting for a guest", 20)
            print("    " + context.cli("migrate", vm.name, address, "--verify", "--downtime", "1000", *plain).stdout.strip(), flush=True)
            require(vm.wait_for_end(30) == 0, "the source did not end with status 0")
            wait_for_checks(there, 2)
            require_same_guest(context, there, digest)
            there.set_balloon(40)
            there.set_balloon(0)
            vm = there


@scenario(kernels=("6.1",))
def a_guest_that_compiles_moves_and_goes_on_compiling(context):
    """Programs that it compiled before, during and after the move give the right answer there."""
    address = f"unix:{context.file('there')}"
    with context.vm(initrd=context.compiler_initrd, memory="512M") as vm, context.other("receive", address) as there:
        vm.wait_ready(60)
        there.wait_for("waiting for a guest", 20)
        vm.check("compile </dev/null >/dev/null 2>&1 &")
        vm.check("compile --check", 60)
        vm.check("cp /tmp/built/1 /tmp/built/before")
        print("    " + context.cli("migrate", vm.name, address, "--verify").stdout.strip(), flush=True)
        require(vm.wait_for_end(30) == 0, "the source did not end with status 0")
        print("    programs: " + " ".join(there.check("cat /tmp/compiled; compile --check", 60).split()[-2:]), flush=True)


def under_way(vm):
    status = vm.api("GET", "/aerate/migration")
    return True if status["phase"] == "copying" and status["sent_bytes"] > 8 << 20 else f"{status}"


@scenario(kernels=("6.12",))
def a_migration_that_fails_leaves_the_guest_at_work(context):
    """The destination is killed in the midst of it, is not there, or cannot have the guest; the operator changes their mind."""
    address = f"unix:{context.file('nowhere')}"
    with context.vm(memory="512M", arguments=with_disk(context)) as vm:
        digest = prepare(context, vm)
        refused = context.cli("migrate", vm.name, address, check=False)
        require(refused.returncode == 3 and "stays here" in refused.stderr, f"{refused}")
        with context.other("receive", address, "--drive", "drive9=/dev/null") as there:
            there.wait_for("waiting for a guest", 20)
            refused = context.cli("migrate", vm.name, address, check=False)
            require(refused.returncode == 3 and "no such drive" in refused.stderr, f"{refused}")
        with context.other("receive", address) as there:
            there.wait_for("waiting for a guest", 20)
            for how in ("killed", "cancelled"):
                command = subprocess.Popen([context.binary, "migrate", vm.name, address, "--bandwidth", "20M"], stderr=subprocess.PIPE, text=True)
                vm.wait_until(lambda: under_way(vm), 30, 0.05)
                if how == "cancelled":
                    command.send_signal(signal.SIGINT)
                else:
                    os.killpg(there.process.pid, signal.SIGKILL)
                said = command.communicate(timeout=60 * PATIENCE)[1]
                require(command.returncode == 3 and "stays here" in said, f"{how}: {said}")
                wait_for_checks(vm, 1)
                if how == "killed":
                    os.unlink(context.file("nowhere"))
                    there.__exit__()
                    there.start([context.binary, "receive", address, "--files", context.runtime, "--name", there.name])
                    there.wait_for("waiting for a guest", 20)
        require_same_guest(context, vm, digest)
