"""`aerate host` over guests of User Mode Linux: real balloon drivers, and a host that is short because its reserve says so."""
import json
import os
import signal
import subprocess
import time

from uml import GuestError
from uml_scenarios import scenario

MIB = 2**20


def available_mib():
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("MemAvailable:"))


class Host:
    """`aerate host` with this much kept for the host itself. A context manager."""

    def __init__(self, context, reserve_mib, *arguments):
        self.context = context
        config = os.path.join(context.directory, f"host-{time.monotonic_ns()}.json")
        with open(config, "w", encoding="ascii") as file:
            json.dump({"reserve_mib": reserve_mib, "defaults": {"memory_floor_mib": 64}}, file)
        self.log = open(config + ".log", "w+", encoding="utf-8")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen([context.binary, "host", "--config", config, *arguments], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.until("the daemon answers", lambda: self.ask("status").returncode == 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end(signal.SIGTERM)

    def end(self, how):
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(10)

    def ask(self, *words):
        return subprocess.run([self.context.binary, "host", *words], capture_output=True, text=True, timeout=30, check=False)

    def vms(self):
        return {vm["name"]: vm for vm in json.loads(self.ask("status", "--json").stdout)["vms"]}

    def until(self, what, holds, seconds=20):
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.log.seek(0)
                raise GuestError(f"not so: {what}; {self.ask('status').stdout}{self.log.read()}")
            time.sleep(0.2)


@scenario
def a_host_takes_in_a_shortage_goes_on_after_a_kill_and_gives_back(context):
    guests = []
    for name in ("one", "two", "three"):
        # What they free stays resident: else there would be nothing to take.
        guests.append(context.uml(context.daemon("--stats-interval", "1", "--no-reporting", name=name), memory="256M"))
        guests[-1].load_driver()
        guests[-1].fill("data", 110 if name == "one" else 150)
        if name != "one":
            guests[-1].check("rm /tmp/data")
    sums = guests[0].checksum("data")
    # Nothing that guests of this size give makes this host have plenty.
    short = available_mib() - 64
    history = os.path.join(context.directory, "history")
    with Host(context, short, "--record", history) as host:
        host.until("all three are there", lambda: len(host.vms()) == 3)
        host.until("those who have to spare give", lambda: all(host.vms()[name]["balloon_bytes"] > 40 * MIB for name in ("two", "three")))
        vms = host.vms()
        if vms["one"]["balloon_bytes"] > vms["two"]["balloon_bytes"]:
            raise GuestError(f"the guest that needs most gave most: {vms}")
        if any(vm["balloon_bytes"] > vm["size_bytes"] - vm["floor_bytes"] for vm in vms.values()):
            raise GuestError(f"a guest is below its floor: {vms}")
        second = host.ask()
        if second.returncode != 1 or "looks after" not in second.stderr:
            raise GuestError(f"a second daemon: {second}")
        if "takes" not in host.ask("explain", "two").stdout:
            raise GuestError("explain says nothing of what was taken")
        if host.ask("admit", "--mem", "1T", "--floor", "1T").returncode != 1:
            raise GuestError("a VM of a TiB fits")
        host.end(signal.SIGKILL)
    taken = {guest.name: guest.ballooned_mib() for guest in guests}
    replayed = subprocess.run([context.binary, "host", "replay", history], capture_output=True, text=True, check=False)
    if replayed.returncode != 0 and "cut off" not in replayed.stderr:
        raise GuestError(f"the history does not replay: {replayed}")
    with Host(context, 512) as host:
        host.until("the balloons are empty again", lambda: all(vm["balloon_bytes"] == 0 for vm in host.vms().values()) and len(host.vms()) == 3, 60)
    if guests[0].checksum("data") != sums:
        raise GuestError("the guest's data has changed")
    print(f"    taken: {taken}; {replayed.stdout.strip()}", flush=True)
