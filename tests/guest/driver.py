"""Scenarios with Aerate's own balloon driver in the guest (guests/linux), beside the stock one in the same boot where they are compared."""
import base64
import json
import signal
import time

from registry import guest, require, scenario
from vm import PATIENCE, Vm


@guest("driver")
def driver_guest(context):
    return context.vm(initrd=context.driver_initrd, memory="1G", arguments=["--stats-interval", "1"])


def bind(vm, driver):
    vm.check(f"balloon {driver}", 60)


def require_clean_log(vm):
    complaints = vm.check("dmesg | grep -iE 'WARNING|BUG:|Oops|blocked for more|rcu.*stall|bad page|virtio.*(error|broken)|does not answer' || true").strip()
    require(complaints == "", f"the kernel complains: {complaints}")


def fresh_log(vm):
    """What the kernel said while it booted is not ours: under the testbed's emulation it warns of its XSAVE area."""
    vm.check("dmesg -c >/dev/null")


def fill_and_free(vm, mib):
    """Has the guest touch that much and free it again; returns what is resident then."""
    vm.check(f"dd if=/dev/zero of=/tmp/fill bs=1M count={mib} 2>/dev/null", 60)
    vm.check("rm /tmp/fill")
    return vm.resident_mib()


def guest_uses(vm):
    """What the guest does not have free, in MiB: its kernel's own included, which MemTotal leaves out."""
    return vm.memory_mib - vm.guest_memory()[1]


def sweep(context, vm):
    """(seconds, resident before, resident after, the report)"""
    before, began = vm.resident_mib(), time.monotonic()
    report = json.loads(context.cli("sweep", vm.name, "--json").stdout)
    return time.monotonic() - began, before, vm.resident_mib(), report


# --- Compared with the stock driver -------------------------------------------------------------------------------------------------------

@scenario("driver")
def driver_binds_and_gives_statistics(_, vm):
    fresh_log(vm)
    bind(vm, "aerate")
    require("aerate_balloon" in vm.check("cat /proc/modules"), "the module is not loaded")

    def complete():
        values = vm.api("GET", "/balloon/statistics")
        names = ("swap_in", "major_faults", "free_memory", "total_memory", "available_memory", "disk_caches", "oom_kill", "alloc_stall", "direct_reclaim")
        return True if all(values.get(name) is not None for name in names) else f"{values}"

    vm.wait_until(complete, 20)
    require_clean_log(vm)


@scenario("driver")
def driver_gives_all_back_at_a_sweep(context, vm):
    """600 MiB are written to tmpfs and deleted, then swept: with the stock driver and with ours, in turn."""
    vm.memory_mib = 1024
    fresh_log(vm)
    took = {}
    for driver in ("stock", "aerate"):
        bind(vm, driver)
        fill_and_free(vm, 600)
        took[driver], before, after, report = sweep(context, vm)
        uses = guest_uses(vm)
        print(f"    {driver}: {before:.0f} -> {after:.0f} MiB in {took[driver]:.2f} s, held {report['batches']} times, {report['longest_hold_us']} us at most; the guest uses {uses:.0f} MiB", flush=True)
    require(before > after + 100, f"{before:.0f} MiB were resident: this would show nothing")
    require(after <= 1.02 * uses + 8, f"resident {after:.0f} MiB of a guest that uses {uses:.0f}")
    require(report["batches"] == 0, f"the guest was held: {report}")
    require(vm.status()["balloon"].get("reports_when_asked"), "the host does not say which driver it is")
    require(took["aerate"] < took["stock"], f"slower than the stock driver: {took}")
    require_clean_log(vm)


@scenario("driver", minutes=6)
def driver_inflates_and_deflates(_, vm):
    fresh_log(vm)
    for driver in ("stock", "aerate"):
        bind(vm, driver)
        free = vm.guest_memory()[1]
        up = vm.set_balloon(200)
        inflated = vm.guest_memory()[1]
        down = vm.set_balloon(0)
        print(f"    {driver}: 200 MiB inflated in {up:.2f} s, deflated in {down:.2f} s", flush=True)
        require(free - inflated > 150, f"free memory went from {free:.0f} to {inflated:.0f} MiB only")
    # Sizes that are no multiple of a block, up and down: blocks are taken apart.
    for mib in (101, 7, 100, 99, 1, 0):
        vm.set_balloon(mib)
        require(vm.status()["memory"]["ballooned_bytes"] == mib << 20, f"{vm.status()['memory']['ballooned_bytes']} bytes are in the balloon, not {mib} MiB")
    require_clean_log(vm)


# --- Bound and unbound while the guest is busy --------------------------------------------------------------------------------------------

CHURN = """
n=0
while ! [ -e /tmp/churn.stop ]; do
  n=$((n + 1))
  dd if=/dev/urandom of=/tmp/churn.$((n % 3)) bs=256k count=$((n % 5 * 10 + 5)) 2>/dev/null
  md5sum /tmp/churn.$((n % 3)) >/tmp/sum.$((n % 3))
  for file in /tmp/sum.*; do md5sum -c $file >/dev/null 2>&1 || echo "$n: $file" >>/tmp/churn.wrong; done
  echo $n >/tmp/churn.rounds
done
"""


def rebind_in_churn(context, vm, goes_on):
    """Does all that a host and an administrator can do, while the guest writes files and checks their sums."""
    fresh_log(vm)
    bind(vm, "aerate")
    vm.check("dd if=/dev/urandom of=/tmp/keep bs=1M count=24 2>/dev/null", 60)
    digest = vm.check("md5sum </tmp/keep", 60)
    vm.check("rm -f /tmp/churn.*; (sh -c \"$(echo " + base64.b64encode(CHURN.encode()).decode() + " | base64 -d)\"; touch /tmp/churn.done) & true")
    rounds, began = 0, time.monotonic()
    while goes_on(rounds):
        vm.api("PATCH", "/balloon", {"amount_mib": (60, 0, 120)[rounds % 3]})
        if rounds % 2:
            context.cli("sweep", vm.name)
        else:
            vm.api("PATCH", "/balloon/hinting/start", {})
            bind(vm, "none")
            bind(vm, "aerate")
        require(vm.check("md5sum </tmp/keep", 60) == digest, f"round {rounds}: the file's checksum changed")
        rounds += 1
        print(f"    {rounds} rounds in {time.monotonic() - began:.1f} s, {vm.check('cat /tmp/churn.rounds 2>/dev/null || echo 0').strip()} of the guest's", flush=True)
    vm.check("touch /tmp/churn.stop; while ! [ -e /tmp/churn.done ]; do sleep 0.2; done", 60)
    wrong = vm.check("cat /tmp/churn.wrong 2>/dev/null || true").strip()
    require(wrong == "", f"sums changed: {wrong}")
    vm.set_balloon(0)
    print(f"    {rounds} rounds, {vm.check('cat /tmp/churn.rounds').strip()} of the guest's", flush=True)
    vm.check("rm -f /tmp/keep /tmp/churn* /tmp/sum*")
    require_clean_log(vm)


@scenario("driver", kernels=("6.12",))
def driver_is_rebound_in_the_middle_of_churn(context, vm):
    rebind_in_churn(context, vm, lambda rounds: rounds < 3)


@scenario("driver", minutes=20)
def driver_is_rebound_for_ten_minutes(context, vm):
    end = time.monotonic() + 600
    rebind_in_churn(context, vm, lambda rounds: time.monotonic() < end)


# --- A guest in want ----------------------------------------------------------------------------------------------------------------------

@scenario("driver", kernels=("6.1",))
def driver_deflates_where_processes_would_be_killed(_, vm):
    """The host asks for more than there is; then a process wants 200 MiB."""
    fresh_log(vm)
    bind(vm, "aerate")
    vm.api("PATCH", "/balloon", {"amount_mib": 1000})
    vm.wait_until(lambda: vm.status()["balloon"]["actual_bytes"] > 700 << 20 or f"{vm.status()['balloon']}", 60)
    vm.check("dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null", 60)
    log = vm.check("dmesg")
    require("Killed process" not in log, f"a process was killed: {log[-2000:]}")
    left = vm.status()["balloon"]["actual_bytes"] >> 20
    print(f"    the balloon has {left} MiB left of the 1000 asked for", flush=True)
    vm.set_balloon(0)
    require_clean_log(vm)


@scenario("driver", kernels=("6.12",))
def driver_survives_a_hibernation_that_comes_to_nothing(context, vm):
    """Without swap the image has nowhere to go: devices are frozen and thawed all the same."""
    fresh_log(vm)
    bind(vm, "aerate")
    vm.memory_mib = 1024
    vm.set_balloon(100)
    vm.run("echo disk >/sys/power/state", 60)
    log = vm.check("dmesg")
    require("hibernation" in log.lower(), f"it was not even tried: {log}")
    vm.wait_until(lambda: vm.status()["balloon"]["actual_bytes"] == 100 << 20 or f"{vm.status()['balloon']}", 30)
    vm.set_balloon(0)
    fill_and_free(vm, 300)
    _, _, after, _ = sweep(context, vm)
    require(after <= 1.02 * guest_uses(vm) + 8, f"resident {after:.0f} MiB of a guest that uses {guest_uses(vm):.0f}")


# --- A host that offers hints alone, and reads them late or never -------------------------------------------------------------------------

def late_reader(context, use):
    vm = Vm.__new__(Vm)
    vm.name, vm.runtime = context.next_name(), context.runtime
    vm.start([context.program("late_hints_monitor"), use, context.kernel, context.driver_initrd, "256", "console=ttyS0 quiet panic=-1 mitigations=off"])
    return vm


@scenario(kernels=("6.12",))
def driver_holds_hinted_blocks_until_they_are_read(context):
    """The schedule that destroys a file with the stock driver and a host that discards what it reads late."""
    with late_reader(context, "naive") as vm:
        vm.wait_ready(60)
        bind(vm, "aerate")
        vm.process.send_signal(signal.SIGHUP)  # a command ID; the queue stays unread
        time.sleep(PATIENCE)
        free = vm.guest_memory()[1]
        written = vm.check("dd if=/dev/urandom of=/tmp/file bs=1M count=64 2>/dev/null; md5sum /tmp/file")
        vm.process.send_signal(signal.SIGUSR2)  # the hints are read
        discarded = int(vm.wait_for(r"LATE-HINTS discarded (\d+) MiB", 30)[0][1])
        require(vm.check("md5sum /tmp/file") == written, "the file changed")
        print(f"    {free:.0f} MiB free while the host did not read, {discarded} MiB discarded", flush=True)
        require(vm.guest_memory()[1] > free - 80, f"{vm.guest_memory()[1]:.0f} MiB are free of {free:.0f}")


@scenario(kernels=("6.1",))
def driver_leaves_a_host_that_never_answers(context):
    with late_reader(context, "shipping") as vm:
        vm.wait_ready(60)
        bind(vm, "aerate")
        vm.process.send_signal(signal.SIGHUP)  # a command ID; the queue stays unread for ever
        time.sleep(PATIENCE)
        vm.check("dd if=/dev/urandom of=/tmp/file bs=1M count=32 2>/dev/null")
        digest = vm.check("md5sum </tmp/file")
        began = time.monotonic()
        bind(vm, "none")
        print(f"    unbound after {time.monotonic() - began:.1f} s", flush=True)
        require("does not answer" in vm.check("dmesg"), "nothing was said of it")
        require(vm.check("md5sum </tmp/file") == digest, "the file changed")
