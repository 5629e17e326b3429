"""Scenarios of what a monitor does for a host's memory policy, and by itself when there is none: docs/host-policy.md."""
import http.client
import json
import threading
import time

from registry import require, scenario

MIB = 1 << 20


class Events:
    """Hears what happens to a VM, from now on."""

    def __init__(self, vm):
        self.all = []
        self.connection = vm.connect()
        self.connection.request("GET", "/aerate/events")
        self.connection.sock.settimeout(None)
        self.stream = self.connection.sock.makefile("rb")
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        name = None
        for line in self.stream:
            key, _, value = line.decode().strip().partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                self.all.append((time.monotonic(), name, json.loads(value)))

    def named(self, name):
        return [(when, data) for when, event, data in list(self.all) if event == name]

    def close(self):
        try:
            self.connection.sock.shutdown(2)
        except (OSError, AttributeError, http.client.HTTPException):
            pass
        self.connection.close()


def pulse(vm):
    return vm.api("GET", "/aerate/pulse")


@scenario("common")
def permit_lapses_and_nothing_more_is_taken(_, vm):
    events = Events(vm)
    vm.wait_until(lambda: bool(events.named("state")) or "no first event", 10)
    require(vm.status()["memory_policy"]["memory_floor_mib"] == 128 and "memory_policy" not in pulse(vm), f"{pulse(vm)}")
    vm.api("PUT", "/aerate/permit", {"target_bytes": 400 * MIB, "for_ms": 1000}, expect=(400,))  # below the floor
    vm.api("PUT", "/aerate/memory-policy", {"memory_floor_mib": 64, "memory_shares": 2000})
    vm.api("PATCH", "/vm", {"state": "Paused"})  # a driver that takes no step meanwhile
    vm.api("PUT", "/aerate/permit", {"target_bytes": 200 * MIB, "for_ms": 1500})
    require(pulse(vm)["target_bytes"] == 200 * MIB and pulse(vm)["permit_ms"] <= 1500, f"{pulse(vm)}")
    seconds = vm.wait_until(lambda: bool(events.named("permit_lapsed")) or f"{events.all}", 10)
    vm.api("PATCH", "/vm", {"state": "Resumed"})
    require(pulse(vm)["target_bytes"] == pulse(vm)["actual_bytes"] == 0, f"{pulse(vm)}")
    require(pulse(vm)["permits_lapsed"] == 1, f"{pulse(vm)}")
    # What the policy renews, it gets.
    vm.api("PUT", "/aerate/permit", {"target_bytes": 100 * MIB, "for_ms": 60000})
    vm.wait_until(lambda: any(data["actual_bytes"] == 100 * MIB for _, data in events.named("target_reached")) or f"{events.all}", 60)
    states = [data["state"] for _, data in events.named("state")]
    require(states[:3] == ["Running", "Paused", "Running"], f"{states}")
    vm.set_balloon(0)
    cells = vm.api("GET", "/aerate/memory-map")["cells"]
    require(len(cells) <= 1024 and "r" in cells and set(cells) <= set("bhrsp."), cells)
    began = time.monotonic()
    connection = vm.connect()
    for _ in range(100):
        vm.api("GET", "/aerate/pulse", connection=connection)
    each = (time.monotonic() - began) * 10
    began = time.monotonic()
    for _ in range(20):
        vm.api("GET", "/aerate/status", connection=connection)
    print(f"    lapsed in {seconds:.1f} s; a pulse takes {each:.2f} ms, a status {(time.monotonic() - began) * 50:.2f} ms")
    require(pulse(vm)["resident_bytes"] >= vm.status()["memory"]["resident_bytes"] - 16 * MIB, f"{pulse(vm)} {vm.status()['memory']}")
    events.close()


@scenario("common")
def reflex_gives_back_to_a_guest_that_takes_pages(_, vm):
    """The balloon has most of the guest, as if the policy had died there; then a process wants 200 MiB."""
    events = Events(vm)
    vm.api("PUT", "/aerate/memory-policy", {"memory_floor_mib": 64})
    vm.api("PUT", "/aerate/permit", {"target_bytes": 320 * MIB, "for_ms": 60000})
    vm.wait_until(lambda: pulse(vm)["actual_bytes"] >= 300 * MIB or f"{pulse(vm)}", 60)
    vm.check("dmesg -c > /dev/null; dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null", 60)
    vm.wait_until(lambda: bool(events.named("distress")) or f"{events.all}", 20)
    vm.wait_until(lambda: pulse(vm)["target_bytes"] == pulse(vm)["actual_bytes"] or f"{pulse(vm)}", 60)
    took, relief = events.named("taken_back")[0], events.named("distress")[0]
    left = pulse(vm)
    print(f"    taken back {took[1]['bytes'] >> 20} MiB, relief {1000 * (relief[0] - took[0]):.0f} ms after it was told; the balloon has {left['actual_bytes'] >> 20} MiB of 320 left")
    require(left["target_bytes"] <= 240 * MIB, f"{left}")
    log = vm.check("dmesg")
    require("Killed process" not in log, f"a process was killed: {log[-2000:]}")
    # A config interrupt, whatever for, must not set the driver going again.
    vm.check("dmesg -c > /dev/null")
    vm.api("PATCH", "/balloon/hinting/start", {})
    time.sleep(3)
    require("Out of puff" not in vm.check("dmesg"), "the driver fights for what the guest needs")
    vm.set_balloon(0)
    events.close()
