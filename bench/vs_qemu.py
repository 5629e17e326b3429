#!/usr/bin/env python3
"""One life of one guest, under Aerate or QEMU, measured; bench/vs-qemu runs this inside whatever machine has a working /dev/kvm.

Both monitors boot the same kernel and initramfs with 512 MiB, one vCPU and the same kernel command line. Writes {row: figure} as
JSON to --output, anew after each figure: what was measured before a machine died is there.
"""
import argparse
import json
import os
import re
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/guest"))
from vm import GuestError, Vm  # noqa: E402

MEMORY_MIB = 512


def resident_mib(pid):
    """(MiB of the guest's memory, MiB of all else) that are resident."""
    sizes, name = {}, None
    with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as file:
        for line in file:
            header = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+\s*(.*)", line)
            if header:
                length = int(header[2], 16) - int(header[1], 16)
                # QEMU's and Aerate's guest RAM are the mappings of at least a quarter of the guest's size.
                name = "guest" if length >= MEMORY_MIB << 18 else "monitor"
            elif line.startswith("Rss:"):
                sizes[name] = sizes.get(name, 0) + int(line.split()[1])
    return sizes.get("guest", 0) / 1024, sizes.get("monitor", 0) / 1024


class Aerate(Vm):
    def __init__(self, options):
        super().__init__(options.binary, options.kernel, options.initrd, "bench", memory=f"{MEMORY_MIB}M")

    def request_balloon(self, mib):
        self.api("PATCH", "/balloon", {"amount_mib": mib})

    def balloon_mib(self):
        return self.status()["balloon"]["actual_bytes"] / 2**20


class Qemu(Vm):
    def __init__(self, options):
        # Vm starts any command that puts the guest's console on its standard streams.
        self.name, self.runtime = "qemu", os.environ["AERATE_RUNTIME_DIR"]
        self.socket = os.path.join(self.runtime, "qmp")
        self.start(["qemu-system-x86_64", "-accel", "kvm", "-cpu", options.qemu_cpu, "-M", options.qemu_machine,
                    "-global", "virtio-mmio.force-legacy=false", "-smp", "1", "-m", str(MEMORY_MIB), "-nodefaults", "-no-user-config",
                    "-display", "none", "-no-reboot", "-serial", "stdio", "-qmp", f"unix:{self.socket},server=on,wait=off",
                    "-device", f"virtio-balloon-{'device' if options.qemu_machine.startswith('microvm') else 'pci'},free-page-reporting=on,deflate-on-oom=on",
                    "-kernel", options.kernel, "-initrd", options.initrd,
                    "-append", "console=ttyS0 quiet panic=-1 mitigations=off"])
        self.qmp = None

    def command(self, name, **arguments):
        if self.qmp is None:
            self.qmp = socket.socket(socket.AF_UNIX)
            self.qmp.settimeout(180)
            self.qmp.connect(self.socket)
            self.reader = self.qmp.makefile("r")
            self.reader.readline()
            self.command("qmp_capabilities")
        self.qmp.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while True:
            line = self.reader.readline()
            if not line:
                raise GuestError("qemu ended:\n" + "\n".join(self.log[-15:]))
            answer = json.loads(line)
            if "return" in answer or "error" in answer:
                return answer.get("return")

    def request_balloon(self, mib):
        self.command("balloon", value=(MEMORY_MIB - mib) << 20)

    def balloon_mib(self):
        return MEMORY_MIB - self.command("query-balloon")["actual"] / 2**20


MONITORS = {"aerate": Aerate, "qemu": Qemu}


def used_mib(vm):
    """In use, by the guest's own word."""
    total, free, _ = vm.guest_memory()
    return total - free


def move_balloon(vm, mib):
    """Returns the seconds until the balloon has that size."""
    began = time.monotonic()
    vm.request_balloon(mib)
    # Asking costs time that the balloon could have, a monitor more than the other: as seldom as 10 % of precision need.
    while abs(vm.balloon_mib() - mib) > 0.5:
        if time.monotonic() - began > 180:
            raise GuestError(f"{vm.name}: the balloon is at {vm.balloon_mib():.1f} MiB, not {mib}, after 180 s")
        time.sleep(max(0.1, 0.1 * (time.monotonic() - began)))
    return time.monotonic() - began


def measure(vm, note):
    """One life of a guest; note(row, figure) for each figure, as far as it comes."""
    vm.wait_for("AERATE-GUEST-INIT", 60)
    note("boot", time.monotonic() - vm.started)
    vm.wait_for("AERATE-GUEST-READY", 60)
    time.sleep(6)
    guest, monitor = resident_mib(vm.process.pid)
    note("overhead", monitor)
    vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=300 2>/dev/null", 60)
    vm.check("rm /tmp/fill")
    time.sleep(5)
    after = resident_mib(vm.process.pid)[0]
    note("report", after - guest)
    note("over use", after - used_mib(vm))
    note("inflate", 300 / move_balloon(vm, 300))
    note("deflate", 300 / move_balloon(vm, 0))
    note("inflate again", 300 / move_balloon(vm, 300))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("binary", "kernel", "initrd", "output"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--monitor", choices=MONITORS, required=True)
    parser.add_argument("--qemu-cpu", default="host")
    parser.add_argument("--qemu-machine", default="microvm")
    options = parser.parse_args()
    os.environ["AERATE_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="aerate-bench-")
    os.environ["AERATE_TESTBED"] = "never"
    figures = {}

    def note(row, figure):
        figures[row] = figure
        with open(options.output, "w", encoding="ascii") as file:
            json.dump(figures, file)
            file.flush()
            os.fsync(file.fileno())

    try:
        with MONITORS[options.monitor](options) as vm:
            measure(vm, note)
    except (GuestError, OSError) as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
