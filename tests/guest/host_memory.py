"""`aerate host` beside three stock guests, on a host that is short because what it keeps for itself says so."""
import contextlib
import json
import os
import signal
import subprocess
import time

from registry import require, scenario
from vm import PATIENCE, GuestError

MIB = 2**20


def available_mib():
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("MemAvailable:"))


class Host:
    """`aerate host` with this much kept for the host itself. A context manager."""

    def __init__(self, context, reserve_mib):
        self.context = context
        config = context.file("host.json")
        with open(config, "w", encoding="ascii") as file:
            json.dump({"reserve_mib": reserve_mib, "defaults": {"memory_floor_mib": 96}}, file)
        self.process = subprocess.Popen([context.binary, "host", "--config", config], stdin=subprocess.DEVNULL)
        self.until("the daemon answers", lambda: context.cli("host", "status", check=False).returncode == 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end(signal.SIGTERM)

    def end(self, how):
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(10)

    def vms(self):
        return {vm["name"]: vm for vm in json.loads(self.context.cli("host", "status", "--json").stdout)["vms"]}

    def until(self, what, holds, seconds=30):
        deadline = time.monotonic() + seconds * PATIENCE
        while not holds():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise GuestError(f"not so: {what}; {self.context.cli('host', 'status', check=False).stdout}")
            time.sleep(0.3)


@scenario(kernels=("6.12",), minutes=8)
def a_fill_in_one_guest_has_the_others_give(context):
    """A host that has less than it promises: who has to spare gives, who needs memory does not, and a daemon that is killed and
    started again goes on; in plenty all of it goes back."""
    with contextlib.ExitStack() as stack:
        guests = [stack.enter_context(context.vm(memory="256M", arguments=["--stats-interval", "1", "--no-reporting"])) for _ in range(3)]
        for vm in guests:
            vm.wait_ready(90)
        busy, *others = guests
        for vm in others:  # used and freed, and resident all the same: nobody reports
            vm.check("dd if=/dev/zero of=/tmp/used bs=1M count=130 2>/dev/null; rm /tmp/used")
        busy.check("dd if=/dev/urandom of=/tmp/kept bs=1M count=110 2>/dev/null")
        kept = busy.check("md5sum </tmp/kept")
        short = available_mib() + 32
        with Host(context, short) as host:
            host.until("the others give", lambda: all(host.vms().get(vm.name, {}).get("balloon_bytes", 0) > 30 * MIB for vm in others))
            vms = host.vms()
            require(all(vms[busy.name]["balloon_bytes"] < vms[vm.name]["balloon_bytes"] for vm in others), f"who needs most gave most: {vms}")
            require("takes" in context.cli("host", "explain", others[0].name).stdout, "explain does not say what was taken")
            second = context.cli("host", check=False)
            require(second.returncode == 1 and "looks after" in second.stderr, f"a second daemon: {second}")
            print(context.cli("host", "status").stdout, flush=True)
            host.end(signal.SIGKILL)
        with Host(context, short) as host:
            host.until("it finds what the last one left", lambda: len(host.vms()) == 3 and all(host.vms()[vm.name]["balloon_bytes"] > 30 * MIB for vm in others))
        with Host(context, 64) as host:
            host.until("all of it goes back", lambda: len(host.vms()) == 3 and all(vm["balloon_bytes"] == 0 for vm in host.vms().values()), 60)
        require(busy.check("md5sum </tmp/kept") == kept, "a file changed")
        for vm in guests:
            require("Killed process" not in vm.check("dmesg"), "a process was killed")
        os.unlink(context.file("host.json"))
