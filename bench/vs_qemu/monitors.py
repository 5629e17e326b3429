"""A guest of Aerate, of an older Aerate and of QEMU, behind one interface: what the benches ask of all of them."""
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/guest"))
from vm import GuestError, Vm  # noqa: E402

MOVE_LIMIT_SECONDS = 240
DOWNTIME_MS = 300


def file(name):
    return os.path.join(os.environ["AERATE_RUNTIME_DIR"], name)


def resident_mib(vm):
    """(MiB of the guest's memory, MiB of all else) that are resident."""
    sizes, name = {}, None
    with open(f"/proc/{vm.process.pid}/smaps", encoding="ascii", errors="replace") as smaps:
        for line in smaps:
            header = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+\s*(.*)", line)
            if header:
                length = int(header[2], 16) - int(header[1], 16)
                # QEMU's and Aerate's guest RAM are the mappings of at least a quarter of the guest's size.
                name = "guest" if length >= vm.memory_mib << 18 else "monitor"
            elif line.startswith("Rss:"):
                sizes[name] = sizes.get(name, 0) + int(line.split()[1])
    return sizes.get("guest", 0) / 1024, sizes.get("monitor", 0) / 1024


class Ticking(Vm):
    """Knows when its guest last said that it runs, and when it first did."""

    # Without a process for each pause, which would keep an emulated guest busy.
    TICK = "mkfifo /tmp/never; (exec 9<>/tmp/never; while :; do echo TICK; read -t 0.02 nothing <&9; done >/dev/console) &"
    first_tick = last_tick = None

    def heard(self, text):
        if text == "TICK":
            self.last_tick = time.monotonic()
            self.first_tick = self.first_tick or self.last_tick
        return text == "TICK"


class Aerate(Ticking):
    BINARY = "binary"  # which of the options names the program

    def __init__(self, options, memory_mib, free_pages="reports", tap=None):
        self.options, self.memory_mib = options, memory_mib
        super().__init__(self.program(), options.kernel, options.initrd, "bench", memory=f"{memory_mib}M",
                         arguments=[*(["--no-reporting"] if free_pages == "none" else []), *(["--net", f"tap={tap}"] if tap else [])])

    def program(self):
        return getattr(self.options, self.BINARY)

    def _other(self, name, *words):
        vm = type(self).__new__(type(self))
        vm.options, vm.memory_mib, vm.name, vm.runtime = self.options, self.memory_mib, name, self.runtime
        vm.start([self.program(), *words, "--name", name])
        return vm

    def _cli(self, *words):
        done = subprocess.run([self.program(), *words, "--json"], capture_output=True, text=True, timeout=MOVE_LIMIT_SECONDS, check=False)
        if done.returncode != 0:
            raise GuestError(f"aerate {' '.join(words)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def request_balloon(self, mib):
        self.api("PATCH", "/balloon", {"amount_mib": mib})

    def balloon_mib(self):
        return self.status()["balloon"]["actual_bytes"] / 2**20

    def move(self, stack):
        """The guest in another monitor, which ends with `stack`; (MiB sent, seconds, milliseconds of downtime)."""
        there = stack.enter_context(self._other("there", "receive", f"unix:{file('there')}"))
        there.wait_for("waiting for a guest", 30)
        began = time.monotonic()
        report = self._cli("migrate", self.name, f"unix:{file('there')}", "--downtime", str(DOWNTIME_MS), "--sweep")
        return there, (report["sent_bytes"] / 2**20, time.monotonic() - began, report["downtime_us"] / 1e3)

    def save(self):
        """The seconds until the file is complete and the guest is gone."""
        began = time.monotonic()
        self._cli("snapshot", self.name, file("saved"), "--sweep", "--stop")
        self.wait_for_end(60)
        return time.monotonic() - began

    def restored(self, stack):
        return stack.enter_context(self._other("again", "restore", file("saved")))

    def give_free_memory_back(self, _mib):
        """Seconds that it took, and milliseconds for which the guest was stopped at the most."""
        began = time.monotonic()
        report = self._cli("sweep", self.name)
        return time.monotonic() - began, report["longest_hold_us"] / 1e3


class Before(Aerate):
    BINARY = "before"


class Qemu(Ticking):
    def __init__(self, options, memory_mib, free_pages="reports", incoming=None, tap=None):
        # Vm starts any command that puts the guest's console on its standard streams.
        self.options, self.memory_mib, self.free_pages = options, memory_mib, free_pages
        self.name, self.runtime = "qemu-again" if incoming else "qemu", os.environ["AERATE_RUNTIME_DIR"]
        self.socket = file(self.name + ".qmp")
        self.qmp = None
        bus = "device" if options.qemu_machine.startswith("microvm") else "pci"
        balloon = f"virtio-balloon-{bus},deflate-on-oom=on"
        # Its own hinting needs a thread for the hints.
        balloon += {"reports": ",free-page-reporting=on", "hints": ",free-page-hint=on,iothread=io0", "none": ""}[free_pages]
        self.start(["qemu-system-x86_64", "-accel", "kvm", "-cpu", options.qemu_cpu, "-M", options.qemu_machine, "-object", "iothread,id=io0",
                    "-global", "virtio-mmio.force-legacy=false", "-smp", "1", "-m", str(memory_mib), "-nodefaults", "-no-user-config",
                    "-display", "none", "-no-reboot", "-serial", "stdio", "-qmp", f"unix:{self.socket},server=on,wait=off", "-device", balloon,
                    "-kernel", options.kernel, "-initrd", options.initrd, "-append", "console=ttyS0 quiet panic=-1 mitigations=off",
                    *(["-netdev", f"tap,id=net0,ifname={tap},script=no,downscript=no", "-device", f"virtio-net-{bus},netdev=net0"] if tap else []),
                    *(["-incoming", incoming] if incoming else [])])

    def command(self, name, **arguments):
        if self.qmp is None:
            deadline = time.monotonic() + 60
            self.qmp = socket.socket(socket.AF_UNIX)
            self.qmp.settimeout(180)
            while True:
                try:
                    self.qmp.connect(self.socket)
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
            self.reader = self.qmp.makefile("r")
            self.reader.readline()
            self.command("qmp_capabilities")
        self.qmp.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while True:
            line = self.reader.readline()
            if not line:
                raise GuestError("qemu ended:\n" + "\n".join(self.log[-15:]))
            answer = json.loads(line)
            if "error" in answer:
                raise GuestError(f"qemu refuses {name}: {answer['error']}")
            if "return" in answer:
                return answer["return"]

    def request_balloon(self, mib):
        self.command("balloon", value=(self.memory_mib - mib) << 20)

    def balloon_mib(self):
        return self.memory_mib - self.command("query-balloon")["actual"] / 2**20

    def _migrate(self, address):
        self.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40, "downtime-limit": DOWNTIME_MS})
        self.command("migrate", uri=address)
        deadline = time.monotonic() + MOVE_LIMIT_SECONDS
        while (state := self.command("query-migrate")).get("status") != "completed":
            if state.get("status") in ("failed", "cancelled") or time.monotonic() > deadline:
                raise GuestError(f"qemu did not migrate: {state}")
            time.sleep(0.1)
        return state

    def move(self, stack):
        there = stack.enter_context(Qemu(self.options, self.memory_mib, self.free_pages, f"unix:{file('there')}"))
        there.command("query-status")
        state = self._migrate(f"unix:{file('there')}")
        return there, (state["ram"]["transferred"] / 2**20, state["total-time"] / 1e3, state["downtime"])

    def save(self):
        began = time.monotonic()
        self._migrate(f"exec:cat >{file('saved')}")
        seconds = time.monotonic() - began
        with contextlib.suppress(GuestError, OSError):
            self.command("quit")
        self.wait_for_end(60)
        return seconds

    def restored(self, stack):
        return stack.enter_context(Qemu(self.options, self.memory_mib, self.free_pages, f"exec:cat {file('saved')}"))

    def give_free_memory_back(self, mib):
        """It has the balloon for that; the guest is not stopped for it."""
        return move_balloon(self, mib), 0


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


MONITORS = {"aerate": Aerate, "qemu": Qemu, "before": Before}
