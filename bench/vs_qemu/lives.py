#!/usr/bin/env python3
"""One life of one guest, under Aerate or QEMU, measured; bench/vs-qemu runs this inside whatever machine has a working /dev/kvm.

Both monitors boot the same kernel and initramfs with as much memory, one vCPU and the same kernel command line. Writes {row: figure}
as JSON to --output, anew after each figure: what was measured before a machine died is there.
"""
import argparse
import contextlib
import json
import os
import re
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from monitors import MONITORS, GuestError, file, move_balloon, resident_mib  # noqa: E402
from network import tap, up  # noqa: E402


def used_mib(vm):
    """In use, by the guest's own word."""
    total, free, _ = vm.guest_memory()
    return total - free


def memory(monitor, note):
    """What a guest costs from boot on, and how fast its memory comes and goes."""
    with monitor(512) as vm:
        vm.wait_for("AERATE-GUEST-INIT", 60)
        note("boot", time.monotonic() - vm.started)
        vm.wait_for("AERATE-GUEST-READY", 60)
        time.sleep(6)
        guest, beside = resident_mib(vm)
        note("overhead", beside)
        vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=300 2>/dev/null", 60)
        vm.check("rm /tmp/fill")
        time.sleep(5)
        after = resident_mib(vm)[0]
        note("report", after - guest)
        note("over use", after - used_mib(vm))
        note("inflate", 300 / move_balloon(vm, 300))
        note("deflate", 300 / move_balloon(vm, 0))
        note("inflate again", 300 / move_balloon(vm, 300))


def has_used_and_freed(vm, mib):
    """Booted, with a file to recognise; `mib` MiB that are not zero were written and freed. Returns the file's digest."""
    vm.wait_for("AERATE-GUEST-READY", 60)
    digest = vm.check("dd if=/dev/urandom of=/tmp/seed bs=1M count=4 2>/dev/null; md5sum </tmp/seed")
    vm.check(f"n=0; while [ $n -lt {mib // 4} ]; do n=$((n+1)); cat /tmp/seed; done >/tmp/fill; rm /tmp/fill", 120)
    return digest


def require_whole(vm, digest):
    # What the monitor says on the same console comes before this; and QEMU's serial port loses the first byte after a restore.
    vm.send("")
    vm.wait_for("##END", 120)
    if (found := vm.check("md5sum </tmp/seed")) != digest:
        raise GuestError(f"{vm.name}: the file is not what it was: {found}, not {digest}")


# Files come and go, at a rate that the emulated machine can send.
CHURN = ("(n=0; while :; do n=$((n+1)); cp /tmp/seed /tmp/w$((n%8)); md5sum /tmp/w$((n%8)) >/dev/null; [ $((n%8)) = 0 ] && rm -f /tmp/w?; done) >/dev/null 2>&1 &")


# A compiler, which the guest of testbed/guest-compiler has.
COMPILING = "compile </dev/null >/dev/null 2>&1 &"


def move(monitor, note, free_pages, settle_seconds=0, work=None, check=None):
    """`work` is started in the guest before it moves; `check` is a command that must succeed in the guest, before and after."""
    with contextlib.ExitStack() as stack:
        vm = stack.enter_context(monitor(1024, free_pages))
        digest = has_used_and_freed(vm, 600)
        vm.check(vm.TICK)
        if work:
            vm.check(work)
        if check:
            vm.check(check, 60)
        time.sleep(settle_seconds)
        used = 1024 - vm.guest_memory()[1]
        there, (sent, seconds, downtime) = vm.move(stack)
        require_whole(there, digest)
        if check:
            there.check(check, 60)
        note("sent", sent)
        note("sent over use", sent / used)
        note("seconds", seconds)
        note("downtime", downtime)
        note("standstill", (there.first_tick - vm.last_tick) * 1e3)


def snapshot(monitor, note, free_pages):
    with contextlib.ExitStack() as stack:
        vm = stack.enter_context(monitor(1024, free_pages))
        digest = has_used_and_freed(vm, 600)
        used = 1024 - vm.guest_memory()[1]
        note("seconds", vm.save())
        size = os.stat(file("saved")).st_blocks * 512 / 2**20
        again = vm.restored(stack)
        again.send("")
        again.wait_for("##END", 120)
        note("restore", time.monotonic() - again.started)
        require_whole(again, digest)
        note("size", size)
        note("size over use", size / used)


def sweep(monitor, note, mib):
    """`mib` MiB that the guest has freed and does not report."""
    with monitor(mib + 424, "none") as vm:
        has_used_and_freed(vm, mib)
        before = resident_mib(vm)[0]
        seconds, hold = vm.give_free_memory_back(mib)
        after = resident_mib(vm)[0]
        note("freed", before - after)
        note("rate", (before - after) / seconds)
        note("hold", hold)
        note("over use", after - used_mib(vm))


# QEMU's way to know free pages: its own hints for what has just been freed, reports where there was time for them.
OWN = {"aerate": "reports", "before": "reports", "qemu": "hints"}
SETTLED = 8  # seconds: Linux reports two seconds after it has freed, and goes on with that for some
def network(monitor, note):
    """One TCP connection each way over the same kind of tap, and the time of a small packet there and back."""
    mib, address = 96, "10.97.0.1"
    with tap("btap0", address), monitor(512, tap="btap0") as vm:
        vm.wait_for("AERATE-GUEST-READY", 60)
        up(vm, "10.97.0.2")
        for row in ("to guest", "from guest", "to guest", "from guest"):  # the second time counts
            with socket.create_server((address, 7001)) as server:
                server.settimeout(60)
                vm.send(f"nc {address} 7001 >/dev/null" if row == "to guest" else f"dd if=/dev/zero bs=1M count={mib} 2>/dev/null | nc {address} 7001")
                connection, _ = server.accept()
                began, piece, came = time.monotonic(), bytes(1 << 20), 0
                with connection:
                    connection.settimeout(120)
                    if row == "to guest":
                        for _ in range(mib):
                            connection.sendall(piece)
                        connection.shutdown(socket.SHUT_WR)
                    while got := connection.recv(1 << 20):
                        came += len(got)
                seconds = time.monotonic() - began
            vm.wait_for("##END", 60)
            if row == "from guest" and came != mib << 20:
                raise GuestError(f"{vm.name}: {came} bytes came of {mib} MiB")
            note(row, mib / seconds)
        answer = vm.check(f"ping -c 200 -A -q {address}", 60)
        note("round trip", float(re.search(r"= [0-9.]+/([0-9.]+)/", answer)[1]) * 1000)


LIVES = {
    "memory": lambda name, monitor, note: memory(monitor, note),
    "idle": lambda name, monitor, note: move(monitor, note, OWN[name], SETTLED),
    "reported": lambda name, monitor, note: move(monitor, note, "reports", SETTLED),
    "at once": lambda name, monitor, note: move(monitor, note, OWN[name]),
    "busy": lambda name, monitor, note: move(monitor, note, OWN[name], SETTLED, CHURN),
    "compiling": lambda name, monitor, note: move(monitor, note, OWN[name], SETTLED, COMPILING, "compile --check"),
    "snapshot": lambda name, monitor, note: snapshot(monitor, note, OWN[name]),
    "sweep": lambda name, monitor, note: sweep(monitor, note, 600),
    "sweep a GiB": lambda name, monitor, note: sweep(monitor, note, 1024),
    "network": lambda name, monitor, note: network(monitor, note),
}

SWEEP_ROWS = {"freed": ("given back", "MiB"), "rate": ("given back", "MiB/s"), "hold": ("longest standstill", "ms"), "over use": ("then resident, over what the guest uses", "MiB")}
MOVE_ROWS = {"sent": ("sent", "MiB"), "sent over use": ("sent, by what the guest uses", ""), "seconds": ("total time", "s"), "downtime": ("downtime, by the source's word", "ms"), "standstill": ("the console was silent for", "ms")}
ROWS = {
    "memory": {"boot": ("boot to init", "s"), "overhead": ("resident beside guest RAM", "MiB"), "report": ("left 5 s after freeing 300 MiB", "MiB"),
               "over use": ("then resident, over what the guest uses", "MiB"), "inflate": ("inflate 300 MiB", "MiB/s"),
               "deflate": ("deflate 300 MiB", "MiB/s"), "inflate again": ("inflate 300 MiB again", "MiB/s")},
    "idle": MOVE_ROWS, "reported": MOVE_ROWS, "at once": MOVE_ROWS, "busy": MOVE_ROWS, "compiling": MOVE_ROWS,
    "snapshot": {"size": ("file", "MiB"), "size over use": ("file, by what the guest uses", ""), "seconds": ("saved after", "s"),
                 "restore": ("a command's answer after", "s")},
    "sweep": SWEEP_ROWS, "sweep a GiB": SWEEP_ROWS,
    "network": {"to guest": ("to the guest", "MiB/s"), "from guest": ("from the guest", "MiB/s"), "round trip": ("there and back", "us")},
}
# The script in testbed/ that makes the initramfs, where a life wants another than the plain one.
INITRAMFS = {"compiling": "guest-compiler"}
TITLES = {"memory": "Memory of a guest of 512 MiB", "idle": "Move of an idle guest of 1 GiB that had used and freed 600 MiB; Aerate's reports, QEMU's hints",
          "reported": "The same, with reports under QEMU too", "at once": "The same as the first, right after it has freed",
          "busy": "The same as the first, with a guest that writes and deletes files",
          "compiling": "The same as the first, with a guest that compiles C programs, one after the other",
          "snapshot": "Snapshot of an idle guest of 1 GiB that has just freed 600 MiB", "sweep": "600 MiB of free memory, not reported, given back: sweep and inflation", "sweep a GiB": "The same, with 1 GiB",
          "network": "A TCP connection over a tap, and a ping"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("binary", "before", "kernel", "initrd", "output"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--monitor", choices=MONITORS, required=True)
    parser.add_argument("--life", choices=LIVES, required=True)
    parser.add_argument("--qemu-cpu", default="host")
    parser.add_argument("--qemu-machine", default="microvm")
    options = parser.parse_args()
    os.environ["AERATE_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="aerate-bench-")
    os.environ["AERATE_TESTBED"] = "never"
    figures = {}

    def note(row, figure):
        figures[row] = figure
        with open(options.output, "w", encoding="ascii") as output:
            json.dump(figures, output)
            output.flush()
            os.fsync(output.fileno())

    try:
        LIVES[options.life](options.monitor, lambda *how, **more: MONITORS[options.monitor](options, *how, **more), note)
    except (GuestError, OSError) as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
