#!/usr/bin/env python3
"""Compares Aerate with QEMU's microvm machine; see bench/vs-qemu. Runs inside whatever machine has a working /dev/kvm.

Both monitors boot the same kernel and initramfs with 512 MiB, one vCPU and the same kernel command line, one after the other in
each run, so that a slow spell of the machine hits both.
"""
import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/guest"))
from vm import GuestError, Vm  # noqa: E402

MEMORY_MIB = 512


def guest_resident_mib(pid):
    """Resident size of the largest mapping, or group of mappings of that file: the guest's memory, in either monitor."""
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
    title = "aerate"

    def __init__(self, options, **more):
        super().__init__(options.binary, options.kernel, options.initrd, "bench", memory=f"{MEMORY_MIB}M", **more)

    def set_balloon(self, mib):
        self.api("PATCH", "/balloon", {"amount_mib": mib})

    def balloon_mib(self):
        return self.status()["balloon"]["actual_bytes"] / 2**20


class Qemu(Vm):
    title = "qemu"

    def __init__(self, options, append=""):
        # Vm starts any command that puts the guest's console on its standard streams.
        self.name, self.runtime = "qemu", os.environ["AERATE_RUNTIME_DIR"]
        self.socket = os.path.join(self.runtime, "qmp")
        command = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-M", "microvm",
                   "-global", "virtio-mmio.force-legacy=false", "-smp", "1", "-m", str(MEMORY_MIB), "-nodefaults", "-no-user-config", "-display", "none",
                   "-no-reboot", "-serial", "stdio", "-qmp", f"unix:{self.socket},server=on,wait=off",
                   "-device", "virtio-balloon-device,free-page-reporting=on,deflate-on-oom=on",
                   "-kernel", options.kernel, "-initrd", options.initrd,
                   "-append", f"console=ttyS0 quiet panic=-1 mitigations=off {append}".strip()]
        self.start(command)
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
            answer = json.loads(self.reader.readline())
            if "return" in answer or "error" in answer:
                return answer.get("return")

    def set_balloon(self, mib):
        self.command("balloon", value=(MEMORY_MIB - mib) << 20)

    def balloon_mib(self):
        return MEMORY_MIB - self.command("query-balloon")["actual"] / 2**20


def wait_for_balloon(vm, mib):
    began = time.monotonic()
    while abs(vm.balloon_mib() - mib) > 0.5:
        if time.monotonic() - began > 120:
            raise GuestError(f"{vm.name}: the balloon is at {vm.balloon_mib()} MiB, not {mib}")
        time.sleep(0.02)
    return time.monotonic() - began


def measure(vm, figures):
    """One life of a guest: fills {row: figure}, as far as it comes."""
    init, _ = vm.wait_for("AERATE-GUEST-INIT", 120)
    figures["boot"] = time.monotonic() - vm.started
    vm.wait_for("AERATE-GUEST-READY", 120)
    time.sleep(6)
    guest, monitor = guest_resident_mib(vm.process.pid)
    figures["overhead"] = monitor
    base = guest
    vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=300 2>/dev/null", 120)
    vm.check("rm /tmp/fill")
    time.sleep(5)
    figures["report"] = guest_resident_mib(vm.process.pid)[0] - base
    vm.set_balloon(300)
    figures["inflate"] = 300 / wait_for_balloon(vm, 300)
    vm.set_balloon(0)
    figures["deflate"] = 300 / wait_for_balloon(vm, 0)
    vm.set_balloon(300)
    figures["inflate again"] = 300 / wait_for_balloon(vm, 300)


ROWS = {"boot": ("boot to init", "s"), "overhead": ("resident beside guest RAM", "MiB"), "report": ("left 5 s after freeing 300 MiB", "MiB"),
        "inflate": ("inflate 300 MiB", "MiB/s"), "inflate again": ("inflate 300 MiB again", "MiB/s"), "deflate": ("deflate 300 MiB", "MiB/s")}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("binary", "kernel", "initrd"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--aerate-append", default="", help="added to the kernel command line under Aerate only")
    options = parser.parse_args()
    os.environ["AERATE_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="aerate-bench-")
    os.environ["AERATE_TESTBED"] = "never"
    figures = {Aerate.title: {}, Qemu.title: {}}
    for run in range(options.runs):
        for monitor in (Aerate, Qemu) if run % 2 == 0 else (Qemu, Aerate):
            extra = {"append": options.aerate_append} if monitor is Aerate else {}
            result = {}
            try:
                with monitor(options, **extra) as vm:
                    measure(vm, result)
            except GuestError as error:
                print(f"run {run + 1}/{options.runs} {monitor.title}: cut short: {error}", file=sys.stderr, flush=True)
            print(f"run {run + 1}/{options.runs} {monitor.title:7}" + "  ".join(f"{key} {value:.1f}" for key, value in result.items()), file=sys.stderr, flush=True)
            for row, value in result.items():
                figures[monitor.title].setdefault(row, []).append(value)

    if not options.json:
        print(f"{'':34} {'unit':>6} {'aerate':>9} {'qemu':>9} {'ratio':>7}   medians of {options.runs} runs")
    for row, (title, unit) in ROWS.items():
        runs = min(len(figures[name].get(row, ())) for name in figures)
        if runs == 0:
            print(f"{title}: no figure: a guest did not come that far", file=sys.stderr)
            continue
        ours, theirs = (statistics.median(figures[name][row]) for name in (Aerate.title, Qemu.title))
        ratio = ours / theirs if theirs else float("nan")
        if options.json:
            print(json.dumps({"row": row, "unit": unit, "aerate": round(ours, 2), "qemu": round(theirs, 2), "ratio": round(ratio, 3), "runs": runs}))
        else:
            print(f"{title:34} {unit:>6} {ours:9.1f} {theirs:9.1f} {ratio:7.2f}")


if __name__ == "__main__":
    main()
