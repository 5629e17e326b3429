"""Scenarios of what time it is for a guest that was restored or moved, and of what it is told anew."""
import re
import time

from registry import require, scenario

PAGE = 0xfe000  # VMClock's, as ACPI says
LAY_STILL = 5  # seconds for which a snapshot lies in its file


class Reading:
    """The guest's clocks, and between which moments of the host's they were read."""

    def __init__(self, vm):
        self.before = time.time()
        said = vm.check(f"vmclock {PAGE}", 60)
        self.after = time.time()
        match = re.search(r"status (\d+) time ([\d.]+) disruptions (\d+) generations (\d+) realtime ([\d.]+)", said)
        require(match, f"vmclock says: {said}")
        self.status, self.counts = int(match[1]), (int(match[3]), int(match[4]))
        self.page, self.realtime = float(match[2]), float(match[5])

    def wrong(self, clock):
        """By how much a clock is surely wrong."""
        return min(0, clock - self.before) or max(0, clock - self.after)

    def ahead(self):
        """By how much the guest's clock is ahead of VMClock's."""
        return self.realtime - self.page

    def describe(self):
        return (f"VMClock {self.wrong(self.page) * 1000:+.1f} ms from the host's clock (read within {(self.after - self.before) * 1000:.0f} ms),"
                f" CLOCK_REALTIME {self.ahead() * 1000:+.1f} ms from VMClock")


def require_page(vm, disruptions, generations, what):
    reading = Reading(vm)
    print(f"    {what}: {reading.describe()}", flush=True)
    require(reading.status in (2, 3), f"{what}: VMClock's status is {reading.status}")
    require(abs(reading.wrong(reading.page)) < 0.001, f"{what}: {reading.describe()}")
    require(reading.counts == (disruptions, generations), f"{what}: disruptions and generations are {reading.counts}")
    return reading


@scenario()
def C9_a_restored_guest_finds_the_right_time(context):
    """In VMClock's page at once and always; in its own clock with --clock-realtime. Without that it stays behind, as is documented."""
    file, address = context.file("clock.snap"), f"unix:{context.file('there')}"
    with context.vm(memory="256M") as vm:
        vm.wait_ready(60)
        print(f"    {vm.check('dmesg | grep -iE rtc.cmos || true')}", flush=True)
        print(f"    clock source: {vm.check('cat /sys/devices/system/clocksource/clocksource0/current_clocksource')}", flush=True)
        require_page(vm, 0, 0, "booted")  # where nothing but the kernel has set the guest's clock: it need not be right
        context.cli("pause", vm.name)
        context.cli("resume", vm.name)
        saved = require_page(vm, 0, 0, "paused and resumed").ahead()
        context.cli("snapshot", vm.name, file, "--stop", "--force")
        require(vm.wait_for_end(30) == 0, "the monitor did not end with status 0")
    time.sleep(LAY_STILL)  # what is measured is that this time passes
    with context.other("restore", file) as vm:
        behind = saved - require_page(vm, 1, 1, "restored").ahead()
        require(behind > LAY_STILL, f"the guest's clock is behind by {behind} s, and not by the time in the file")
    with context.other("restore", file, "--clock-realtime") as vm, context.other("receive", address) as there:
        changed = require_page(vm, 1, 1, "restored with --clock-realtime").ahead() - saved
        require(abs(changed) < 0.05, f"the guest's clock is {changed} s from where it would be")
        there.wait_for("waiting for a guest", 20)
        context.cli("migrate", vm.name, address)
        require(vm.wait_for_end(30) == 0, "the source did not end with status 0")
        changed = require_page(there, 2, 1, "moved").ahead() - saved
        require(abs(changed) < 0.05, f"the guest's clock is {changed} s from where it would be")


def renewals(vm):
    return vm.check("cat /tmp/renewed", 60).splitlines()


def wait_for_renewals(vm, count):
    vm.wait_until(lambda: len(renewals(vm)) >= count or f"{renewals(vm)}", 20)
    reading = Reading(vm)
    print(f"    {renewals(vm)[count - 1]}; seen {time.monotonic() - vm.started:.1f} s after the monitor's start; {reading.describe()}", flush=True)
    require(abs(reading.ahead()) < 0.05, reading.describe())


@scenario(usually="6.1")
def C9_a_guest_that_asks_its_host_is_renewed(context):
    """contrib/guest's program: random numbers and time after each restore and move, whatever the kernel knows of it."""
    file, path, address = context.file("renewed.snap"), context.file("r.sock"), f"unix:{context.file('there')}"
    with context.vm(memory="256M", arguments=["--vsock", f"cid=3,path={path}"]) as vm:
        vm.wait_ready(60)
        vm.check("aerate-renew >/tmp/renewed 2>&1 &")
        wait_for_renewals(vm, 1)
        context.cli("snapshot", vm.name, file, "--stop", "--force")
        require(vm.wait_for_end(30) == 0, "the monitor did not end with status 0")
    time.sleep(LAY_STILL)  # what is measured is that this time passes
    drawn = []
    for number in range(2):
        with context.other("restore", file, "--vsock", f"path={path}{number}") as clone:
            wait_for_renewals(clone, 2)
            drawn.append(clone.check("cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/uuid; head -c 32 /dev/urandom | md5sum").split())
            if number == 0:
                continue
            with context.other("receive", address, "--vsock", f"path={path}-there") as there:
                there.wait_for("waiting for a guest", 20)
                context.cli("migrate", clone.name, address)
                wait_for_renewals(there, 3)
    require(not set(drawn[0]) & set(drawn[1]) - {"-"}, f"both clones drew {drawn[0]}")
