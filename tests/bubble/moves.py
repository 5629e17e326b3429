"""A guest that moves from monitor to monitor, whatever happens to them."""
import collections
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import threading
import time

from gateway import Gateway
from guests import HONEST_DRIVERS, Bubble, GuestError, Later, aerate, path, require


def moves(driver):
    """From monitor to monitor while it churns, once after a sweep; all of its memory is compared each time."""
    address = f"unix:{path('there')}"
    with contextlib.ExitStack() as monitors:
        vm = monitors.enter_context(Bubble("churn", seconds=6, driver=driver))
        vm.wait_for("BUBBLE-PROGRESS")
        for move in range(8):
            there = monitors.enter_context(Later(f"move{move}", "receive", address))
            there.wait_for("waiting for a guest")
            aerate("migrate", vm.name, address, "--verify", *(["--sweep"] if move == 1 and driver in HONEST_DRIVERS else []))
            vm.end()
            there.wait_for("the guest has arrived")  # and nobody listens there any more
            vm = there
        return vm.ended_well()


def moves_in_every_form():
    """Over TCP that a secret protects, over several streams, compressed, as differences, over a link so slow that pages are sent again."""
    secret = path("psk")
    pathlib.Path(secret).write_bytes(os.urandom(32))
    os.chmod(secret, 0o600)
    protected, deltas = ["--psk", secret], 0
    with contextlib.ExitStack() as monitors:
        vm = monitors.enter_context(Bubble("churn", seconds=12, driver="stock-linux"))
        vm.wait_for("BUBBLE-PROGRESS")
        for move, flags in enumerate((["--streams", "4"], ["--compress", "lz4"], ["--compress", "zstd:3", "--streams", "2"], ["--compress", "auto", "--bandwidth", "40M"],
                                      ["--delta", "16M", "--bandwidth", "40M", "--downtime", "1", "--max-rounds", "6", "--force", "--streams", "2"])):
            there = monitors.enter_context(Later(f"form{move}", "receive", "tcp:127.0.0.1:0", *protected))
            address = there.wait_for(r"waiting for a guest at (\S+)")[0][1]
            said = subprocess.run([path("aerate"), "migrate", vm.name, address, "--verify", "--json", *protected, *flags], capture_output=True, text=True, timeout=60, check=False)
            require(said.returncode == 0, f"{flags}: {said.stderr}")
            deltas += json.loads(said.stdout)["delta_pages"]
            vm.end()
            vm = there
        require(deltas > 0, "no page was sent as a difference")
        return f"{vm.ended_well()} deltas={deltas}"


def moves_among_strangers():
    """Who connects and says nothing, or nonsense, neither ends `receive` nor holds the guest up, whenever they come."""
    with contextlib.ExitStack() as monitors:
        vm = monitors.enter_context(Bubble("churn", seconds=600, driver="stock-linux"))
        vm.wait_for("BUBBLE-PROGRESS")
        there = monitors.enter_context(Later("there", "receive", "tcp:127.0.0.1:0", "--plain"))
        port = int(there.wait_for(r"waiting for a guest at \S+:(\d+)")[0][1])
        strangers = [socket.create_connection(("127.0.0.1", port)) for _ in range(12)]
        strangers[0].sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n" + bytes(100))
        there.wait_for(r"no guest has arrived from 127.0.0.1:\d+: .*does not begin with AERM; still waiting at tcp:127.0.0.1")
        strangers[1].close()
        there.wait_for("no guest has arrived from .*(has closed the connection|reset by peer); still waiting")
        over = threading.Event()

        def bother():
            with contextlib.suppress(OSError):
                while not over.wait(0.005):
                    strangers.append(socket.create_connection(("127.0.0.1", port), timeout=1))

        bothering = threading.Thread(target=bother)
        bothering.start()
        time.sleep(0.5)
        began = time.monotonic()
        aerate("migrate", vm.name, f"tcp:127.0.0.1:{port}", "--streams", "4", "--verify", "--plain")
        took = time.monotonic() - began
        over.set()
        bothering.join()
        require(took < 8, f"the strangers held it up for {took:.1f} s")
        there.wait_for("the guest has arrived and runs here as there")
        vm.end()
        vm.wait_for("the guest runs at tcp:127.0.0.1:.* now")
        there.wait_for("BUBBLE-PROGRESS")
        require_whole(there)
        aerate("stop", "--kill", there.name)
        there.end()
        for stranger in strangers:
            stranger.close()
        return f"{took:.1f} s, {len(strangers)} strangers"


class Relay:
    """Between two monitors: carries what they say over TCP until it is cut."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = port
        self.ends = []
        self.whole = True
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def __str__(self):
        return f"tcp:127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self.port))
                with self.lock:
                    self.ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one, other):
        with contextlib.suppress(OSError):
            while self.whole and (data := one.recv(65536)):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def cut(self):
        """Both sides get a reset, wherever they are."""
        self.whole = False
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for end in self.ends:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)
                end.close()


def new_guest(monitors):
    vm = monitors.enter_context(Bubble("churn", seconds=600, driver="stock-linux"))
    vm.wait_for("BUBBLE-PROGRESS")
    return vm


def runs_there(there):
    """Whether the destination has the guest; waits until it knows."""
    return there.wait_for("the guest has arrived|no guest has arrived")[0][0] == "the guest has arrived"


def require_whole(vm):
    lines = [line for line in vm.log if "BUBBLE-" in line]
    require(not any("CORRUPT" in line or "FAILED" in line for line in lines), f"the guest says {lines[-3:]}")


FAULTS = ("none", "cancel", "destination killed", "source killed", "cut")


def moves_with_faults(count, with_lease):
    """At a random moment of each move somebody cancels it, kills one of the monitors or cuts the connection. The guest is there once, whole.

    Without a lease a cut between GO and its answer leaves the source in doubt: it is stopped until it is told that the other side
    does not run. With a lease that never happens, be it a file or in etcd.
    """
    moment, seen = random.Random(1), collections.Counter()
    gateway = Gateway() if with_lease == "etcd" else None
    with contextlib.ExitStack() as monitors:
        lease = ["--lease", monitors.enter_context(gateway) if gateway else path("lease")] if with_lease else []
        vm = new_guest(monitors)
        for move in range(count):
            fault = moment.choice(FAULTS)
            there = Later(f"there{move}", "receive", "tcp:127.0.0.1:0", "--plain", *lease)
            port = int(there.wait_for(r"waiting for a guest at \S+:(\d+)")[0][1])
            relay = Relay(port)
            command = subprocess.Popen([path("aerate"), "migrate", vm.name, str(relay), "--bandwidth", moment.choice(["0", "100M"]), "--plain", *lease],
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            time.sleep(moment.uniform(0, 0.35))
            if fault == "destination killed":
                os.kill(there.process.pid, signal.SIGKILL)
            elif fault == "source killed":
                os.kill(vm.process.pid, signal.SIGKILL)
            elif fault == "cancel":
                with contextlib.suppress(OSError, GuestError):
                    vm.api("DELETE", "/aerate/migration")
            elif fault == "cut":
                relay.cut()
            said = command.communicate(timeout=60)[0]
            what = f"move {move}, {fault}: {said}"
            if fault == "source killed":
                # It was ended by us, here or there; never twice.
                vm.__exit__()
                require_whole(vm)
                outcome = "moved" if relay.ends and runs_there(there) else "gone"
            elif command.returncode == 0:
                vm.end()
                outcome = "gone" if fault == "destination killed" else "moved"
            elif command.returncode == 4:
                require("may run there" in said and not with_lease and fault in ("destination killed", "cut"), what)
                outcome = "in doubt"
            else:
                require(command.returncode == 3 and "stays here" in said, what)
                outcome = "stayed"
            seen[outcome] += 1
            if outcome == "in doubt":
                if fault == "cut" and runs_there(there):
                    vm.__exit__()
                    outcome = "moved"
                else:
                    aerate("resume", "--force", vm.name)
                    outcome = "stayed"
            if outcome == "moved":
                if command.returncode == 0 and fault != "source killed":
                    require(runs_there(there), what)
                require_whole(vm)
                vm = monitors.enter_context(there)
                vm.wait_for("BUBBLE-PROGRESS")
            else:
                if outcome == "stayed" and fault != "destination killed" and relay.ends:
                    require(not runs_there(there), f"it runs twice: {what}")
                there.__exit__()
                if outcome == "gone":
                    vm = new_guest(monitors)
            require(vm.status()["state"] == "Running", f"{what}: {vm.status()}")
            relay.cut()
        vm.wait_for("BUBBLE-PROGRESS")  # it still works, and has found its pages whole until now
        require_whole(vm)
        aerate("stop", "--kill", vm.name)
    require(seen["moved"] and seen["stayed"], f"{dict(seen)}: this shows nothing")
    require(not gateway or gateway.questions > 2 * seen["moved"], "the lease was not asked")
    return ", ".join(f"{number} {outcome}" for outcome, number in seen.most_common())


def C6_a_slow_link_is_slow():
    """Less than a MiB a second is a limit like any other: what a megabyte a second cannot carry does not move."""
    address = f"unix:{path('there')}"
    with contextlib.ExitStack() as monitors:
        vm = new_guest(monitors)
        there = monitors.enter_context(Later("there", "receive", address))
        there.wait_for("waiting for a guest")
        with subprocess.Popen([path("aerate"), "migrate", vm.name, address, "--bandwidth", "512K", "--delta", "512K"], stderr=subprocess.PIPE, text=True) as command:
            time.sleep(2)
            rate = vm.api("GET", "/aerate/migration")["throughput_bytes_per_second"]
            command.send_signal(signal.SIGINT)
            said = command.communicate(timeout=20)[1]
        require("stays here" in said, f"it moved over a link of 512 KiB/s: {said}")
        aerate("stop", "--kill", vm.name)
        return f"{rate / 1024:.0f} KiB/s"


def C6_a_slow_link_holds_no_guest():
    """A guest that writes next to nothing goes over a slow link while it runs: with nothing known of the link it is not stopped."""
    address = f"unix:{path('there')}"
    with contextlib.ExitStack() as monitors:
        vm = monitors.enter_context(Bubble("serial"))
        vm.wait_for("BUBBLE-READY")
        there = monitors.enter_context(Later("there", "receive", address))
        there.wait_for("waiting for a guest")
        command = [path("aerate"), "migrate", vm.name, address, "--bandwidth", "128K", "--json"]
        said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout)
        stopped = said["downtime_us"] / 1000
        require(said["sent_bytes"] > 256 << 10, f"too little to tell: {said}")
        require(stopped < 600, f"it stood still for {stopped:.0f} ms: {said}")
        vm.end()
        aerate("stop", "--kill", there.name)
        return f"{said['sent_bytes'] >> 10} KiB, {stopped:.0f} ms"


def converges_when_throttled():
    """A guest that writes faster than the link carries: it does not move unless it is slowed down."""
    address = f"unix:{path('there')}"
    with contextlib.ExitStack() as monitors:
        vm = monitors.enter_context(Bubble("churn", seconds=600, driver="hold-until-used"))
        vm.wait_for("BUBBLE-PROGRESS")
        there = monitors.enter_context(Later("there", "receive", address))
        there.wait_for("waiting for a guest")
        slow = ["migrate", vm.name, address, "--bandwidth", "10M", "--downtime", "2"]
        refused = subprocess.run([path("aerate"), *slow, "--max-rounds", "6"], capture_output=True, text=True, timeout=60, check=False)
        require(refused.returncode == 3 and "stays here" in refused.stderr, f"it moved over a slow link: {refused}")
        with subprocess.Popen([path("aerate"), *slow, "--auto-converge", "--json"], stdout=subprocess.PIPE, text=True) as command:
            said = command.communicate(timeout=120)[0]
        require(command.returncode == 0, f"throttled: {said}")
        throttled = json.loads(said)["throttle_percent"]
        require(throttled > 0, f"it was not throttled: {said}")
        there.wait_for("BUBBLE-PROGRESS")
        aerate("stop", "--kill", there.name)
        return f"throttled {throttled} %"
