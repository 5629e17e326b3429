"""Scenarios that share one guest: two vCPUs, a disk, a read-only disk, statistics every second."""
import contextlib
import os
import pty
import select
import subprocess
import termios
import time

from registry import guest, require, scenario
from vm import PATIENCE


@guest("common")
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
