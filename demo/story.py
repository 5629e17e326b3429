#!/usr/bin/env python3
"""The demo's story: two guests share a memory budget; each fills memory and frees it, with reporting and without.

Runs inside whatever machine has a working /dev/kvm; or, with --uml, anywhere: then the guests are User Mode Linux. Writes samples and results to --output as JSON; demo/picture.py draws them.
"""
import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time

for tests in ("guest", "uml"):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests", tests))
from uml import Daemon, Uml  # noqa: E402
from vm import Vm  # noqa: E402

GUEST_MIB, FILL_MIB, SORT_MIB = 768, 480, 120
SAMPLE_SECONDS = 0.5
SETTLE_SECONDS = 12  # given to reporting: a pass every 2 s, two passes as a rule, and a slow machine
FILL_STEPS = 6  # with a pause after each, so that the guest's own figures, a second old at most, show the way up


class Recorder(threading.Thread):
    """Samples each VM's status and shows a live line; its samples are (seconds, used MiB, resident MiB) over both guests."""

    def __init__(self, vms, budget_mib):
        super().__init__(daemon=True)
        self.vms, self.budget_mib = vms, budget_mib
        self.samples, self.events = [], []
        self.rows = []  # the newest sample, a guest each
        self.began, self.stopping = time.monotonic(), threading.Event()

    def now(self):
        return time.monotonic() - self.began

    def event(self, text):
        self.events.append((self.now(), text))
        clear = "\r\033[K" if sys.stdout.isatty() else ""
        print(f"{clear}  {self.now():5.1f} s  {text}", flush=True)

    def run(self):
        shown = 0.0
        while not self.stopping.wait(SAMPLE_SECONDS):
            self.rows = row = [sample(vm) for vm in self.vms]
            self.samples.append((self.now(), sum(used for used, _ in row), sum(resident for _, resident in row)))
            line = "   ".join(f"{vm.name} {bar(used, resident)} {resident:4.0f}" for vm, (used, resident) in zip(self.vms, row))
            line = f"  {self.now():5.1f} s  {line}   total {self.samples[-1][2]:4.0f} of {self.budget_mib} MiB"
            if sys.stdout.isatty():
                print("\r\033[K" + line, end="", flush=True)
            elif self.now() - shown >= 3:
                shown = self.now()
                print(line, flush=True)

    def stop(self):
        self.stopping.set()
        self.join()


def sample(vm):
    """(MiB in use by the guest, MiB that the host spends on it)."""
    status = vm.status()
    free = ((status.get("balloon") or {}).get("statistics") or {}).get("free_memory")
    size = status["memory"]["guest_size_bytes"]
    used = (size - free) if free is not None else 0
    return used / 2**20, status["memory"]["resident_bytes"] / 2**20


def bar(used, resident, width=24):
    filled = round(used / GUEST_MIB * width)
    held = max(filled, round(resident / GUEST_MIB * width))
    return "█" * filled + "▒" * (held - filled) + "·" * (width - held)


def settle(recorder, timeout):
    """Waits until each guest's resident memory is within 5 % + 16 MiB of what it uses; returns the seconds, or None."""
    began = recorder.now()
    while recorder.now() - began < timeout:
        time.sleep(0.1)
        # The guest's word of what it uses is up to a second old: a sample from before it freed anything says nothing.
        if recorder.rows and recorder.samples[-1][0] > began + 1.2:
            if all(resident <= used * 1.05 + 16 for used, resident in recorder.rows):
                return recorder.samples[-1][0] - began
    return None


def fill(guest, path, mib):
    """Writes a file of so many MiB to the guest's tmpfs, and lets the guest's statistics tell of it before anything else happens."""
    for step in range(FILL_STEPS):
        guest.check(f"dd if=/dev/zero of={path} bs=1M count={mib // FILL_STEPS} seek={step * (mib // FILL_STEPS)} conv=notrunc 2>/dev/null; sleep 0.4", 120)
    guest.check("sleep 2")


@contextlib.contextmanager
def guests(arguments, reporting):
    """The two of them, started."""
    options = ["--stats-interval", "1"] + ([] if reporting else ["--no-reporting"])
    with contextlib.ExitStack() as stack:
        started = []
        for name in ("alder", "birch"):
            if arguments.uml:
                # Two daemons, so that the guests are called by name. One would do.
                daemon = stack.enter_context(Daemon(arguments.binary, arguments.directory, name, options))
                guest = Uml(arguments.initrd, daemon.socket, name, arguments.directory, memory=f"{GUEST_MIB}M", append=["loglevel=3"])
            else:
                guest = Vm(arguments.binary, arguments.kernel, arguments.initrd, name, memory=f"{GUEST_MIB}M", arguments=options)
            started.append(stack.enter_context(guest))
        yield started


def tell(arguments, reporting, budget_mib):
    """One telling of the story; returns its samples, events and figures."""
    with guests(arguments, reporting) as (first, second):
        print(f"\nTwo guests of {GUEST_MIB} MiB, budget {budget_mib} MiB, free page reporting {'on' if reporting else 'OFF'}", flush=True)
        print("  █ in use by the guest  ▒ resident on the host beyond that  · neither; numbers are MiB resident", flush=True)
        for vm in (first, second):
            print(f"  {vm.name}: ready {vm.wait_ready(180):.1f} s after its start", flush=True)
            if arguments.uml:
                vm.load_driver()
        release = first.check("uname -r").strip()
        for vm in (first, second):
            # Linux 6.1 takes this at run time only: it overwrites what the command line says when the driver loads.
            vm.check(f"echo {arguments.order} >/sys/module/page_reporting/parameters/page_reporting_order")
        recorder = Recorder([first, second], budget_mib)
        recorder.start()
        time.sleep(4)

        recorder.event(f"{first.name} writes a {FILL_MIB} MiB file to its tmpfs")
        fill(first, "/tmp/fill", FILL_MIB)
        recorder.event(f"{first.name} deletes it")
        first.check("rm /tmp/fill")
        first_settled = settle(recorder, SETTLE_SECONDS if reporting else 5)
        recorder.event(f"{second.name} writes {FILL_MIB - SORT_MIB} MiB and sorts")
        fill(second, "/tmp/fill", FILL_MIB - SORT_MIB)
        second.check("seq 200000 | sort -r | md5sum", 180)
        fill(second, "/tmp/more", SORT_MIB)
        recorder.event(f"{second.name} deletes its files")
        second.check("rm /tmp/fill /tmp/more")
        second_settled = settle(recorder, SETTLE_SECONDS if reporting else 5)
        time.sleep(2)
        recorder.stop()
        _, used, after = recorder.samples[-1]
        recorder.event(f"guests use {used:.0f} MiB, the host spends {after:.0f} MiB")
        for vm in (first, second):
            vm.power_off()
    settled = [seconds for seconds in (first_settled, second_settled) if seconds is not None]
    return {"reporting": reporting, "kernel": release, "samples": recorder.samples, "events": recorder.events, "guest_used_mib": used,
            "resident_peak_mib": max(row[2] for row in recorder.samples), "resident_after_mib": after,
            "settle_seconds": max(settled) if len(settled) == 2 else None, "settle_limit": SETTLE_SECONDS}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("binary", "initrd", "output"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--kernel")
    parser.add_argument("--uml", action="store_true", help="User Mode Linux with aerate vhost-user")
    parser.add_argument("--engine", default="kvm")
    parser.add_argument("--order", type=int, default=5, help="the smallest block that the guests report is 4 KiB << order; Linux's own default is 9")
    arguments = parser.parse_args()
    os.environ["AERATE_RUNTIME_DIR"] = runtime = arguments.directory = tempfile.mkdtemp(prefix="aerate-demo-")
    os.environ["AERATE_TESTBED"] = "never"
    budget_mib = 1024
    try:
        result = {"engine": arguments.engine, "guests": 2, "guest_mib": GUEST_MIB, "fill_mib": FILL_MIB, "budget_mib": budget_mib,
                  "runs": [tell(arguments, reporting, budget_mib) for reporting in (True, False)]}
    finally:
        shutil.rmtree(runtime, ignore_errors=True)
    with open(arguments.output, "w", encoding="ascii") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main()
