"""Scenarios that say little in one round, and much in hundreds: connections that outlive snapshots, restores and moves. Only by name."""
import contextlib
import hashlib
import os
import random
import socket
import statistics
import threading
import time

from network import ip, tap, up
from registry import require, scenario
from sockets import PORT, to_guest
from vm import PATIENCE

PIECE = 1 << 14
PAUSE = 0.01  # seconds between two pieces: traffic that never stops, and leaves the emulated processor time for the rest


class Echoed:
    """A TCP connection to the guest, which sends back all that comes: numbered pieces go there without an end, and what is back is
    compared byte by byte. Says what was the longest silence since it was last asked."""

    def __init__(self, address):
        self.connection = socket.create_connection((address, 7000), timeout=20 * PATIENCE)
        self.connection.settimeout(60 * PATIENCE)
        self.sent = self.came = 0
        self.error = None
        self.heard, self.silence = time.monotonic(), 0
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(work,), daemon=True) for work in (self._send, self._receive)]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def piece(number):
        return random.Random(number).randbytes(PIECE)

    def _run(self, work):
        try:
            work()
        except OSError as error:
            self.error = self.error or error

    def _send(self):
        while not self.ending.wait(PAUSE):
            self.connection.sendall(self.piece(self.sent))
            self.sent += 1
        self.connection.shutdown(socket.SHUT_WR)

    def _receive(self):
        expected = b""
        while got := self.connection.recv(1 << 16):
            now = time.monotonic()
            self.heard, self.silence = now, max(self.silence, now - self.heard)
            while len(expected) < len(got):
                expected += self.piece(self.came)
                self.came += 1
            if not expected.startswith(got):
                raise OSError(f"other bytes came back than were sent, near byte {self.came * PIECE}")
            expected = expected[len(got):]
        if expected or self.came != self.sent:
            raise OSError(f"{self.sent} pieces were sent and {self.came} came back, the last one without {len(expected)} bytes")

    def wait_for_more(self):
        """Returns the longest silence, in seconds, once something has come since this was called."""
        before, began = self.came, time.monotonic()
        while self.came < before + 4:
            require(self.error is None, f"the connection: {self.error}")
            require(time.monotonic() - began < 30 * PATIENCE, f"nothing comes back: {self.sent} pieces sent, {self.came} back")
            time.sleep(0.02)
        silence, self.silence = self.silence, 0
        return silence

    def end(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(60 * PATIENCE)
            require(not thread.is_alive(), f"the connection does not end: {self.sent} pieces sent, {self.came} back")
        self.connection.close()
        require(self.error is None, f"the connection: {self.error}")


def rounds(count, connection, each):
    """Does `each` so often, and says how it goes; returns the silences of the connection."""
    silences, began = [], time.monotonic()
    for number in range(1, count + 1):
        each(number)
        silences.append(connection.wait_for_more())
        if number % 10 == 0:
            print(f"    {number} of {count}, {time.monotonic() - began:.0f} s, {connection.came * PIECE >> 20} MiB there and back; silent for"
                  f" {statistics.median(silences) * 1000:.0f} ms (median), {max(silences) * 1000:.0f} at most", flush=True)
    return silences


def echo_server(vm, address):
    vm.wait_ready(60)
    up(vm, address)
    vm.check("nc -ll -p 7000 -e cat >/dev/null 2>&1 & until grep -q ':1B58 [0-9A-F]*:0000 0A' /proc/net/tcp /proc/net/tcp6; do usleep 20000; done", 30)


@scenario(None, minutes=30)
def network_goes_on_over_200_snapshots(context):
    """A guest is saved and goes on from the file in a new monitor, with the same tap, while a connection is at work."""
    file = context.file("round.snap")
    with tap("gtap0", "10.93.0.1"), contextlib.ExitStack() as lives:
        vm = lives.enter_context(context.vm(memory="128M", arguments=["--net", "tap=gtap0,mac=02:00:00:00:00:41"]))
        echo_server(vm, "10.93.0.2")
        connection = Echoed("10.93.0.2")

        def save_and_restore(_):
            nonlocal vm
            context.cli("snapshot", vm.name, file, "--stop", "--force")
            require(vm.wait_for_end(30) == 0, "the monitor did not end with status 0")
            vm = lives.enter_context(context.other("restore", file, "--net", "net0=tap=gtap0"))

        rounds(200, connection, save_and_restore)
        connection.end()


@scenario(None, minutes=30)
def network_goes_on_over_100_moves(context):
    """A guest moves to and fro between two taps of a bridge while a connection is at work."""
    mac, path = "02:00:00:00:00:42", context.file("to.sock")
    with tap("gtap0", "10.92.0.8"), tap("gtap1", "10.92.0.9"), contextlib.ExitStack() as lives:
        ip("link", "add", "gbr0", "type", "bridge")
        lives.callback(ip, "link", "del", "gbr0")
        for name in ("gtap0", "gtap1"):
            ip("address", "flush", "dev", name)
            ip("link", "set", name, "master", "gbr0")
        ip("address", "add", "10.92.0.1/24", "dev", "gbr0")
        ip("link", "set", "gbr0", "up")
        vm = lives.enter_context(context.vm(memory="128M", arguments=["--net", f"tap=gtap0,mac={mac}"]))
        echo_server(vm, "10.92.0.2")
        connection = Echoed("10.92.0.2")

        def move(number):
            nonlocal vm
            there = lives.enter_context(context.other("receive", f"unix:{path}", "--net", f"net0=tap=gtap{number % 2}"))
            there.wait_for("waiting for a guest", 30)
            context.cli("migrate", vm.name, f"unix:{path}")
            require(vm.wait_for_end(30) == 0, "the source did not end with status 0")
            vm = there

        rounds(100, connection, move)
        connection.end()


@scenario(None, minutes=30)
def vsock_carries_a_gibibyte_each_way_and_a_thousand_connections(context):
    path = context.file("v.sock")
    with context.vm(arguments=["--vsock", f"cid=3,path={path}"]) as vm:
        vm.wait_ready(60)
        vm.check(f"vsock echo {PORT} >/tmp/listening & while ! [ -s /tmp/listening ]; do sleep 0.1; done")
        there, back, piece = hashlib.sha256(), hashlib.sha256(), os.urandom(1 << 20)
        connection, began = to_guest(path), time.monotonic()

        def send():
            for number in range(1024):
                data = number.to_bytes(8, "little") + piece[8:]
                there.update(data)
                connection.sendall(data)
                if number % 128 == 127:
                    print(f"    {number + 1} MiB sent, {time.monotonic() - began:.0f} s", flush=True)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while got := connection.recv(1 << 20):
            back.update(got)
        sender.join()
        connection.close()
        require(there.digest() == back.digest(), "other bytes came back than were sent")
        print(f"    1 GiB there and back in {time.monotonic() - began:.0f} s", flush=True)

        began, open_ones = time.monotonic(), []
        for number in range(1000):
            open_ones.append(to_guest(path))
            if number % 200 == 199:
                print(f"    {number + 1} connections, {time.monotonic() - began:.0f} s", flush=True)
        for number, connection in enumerate(open_ones):  # all are open, and each has bytes of its own
            connection.sendall(number.to_bytes(8, "little") * 100)
            connection.shutdown(socket.SHUT_WR)
        for number, connection in enumerate(open_ones):
            came = b""
            while got := connection.recv(1 << 16):
                came += got
            require(came == number.to_bytes(8, "little") * 100, f"connection {number}: {len(came)} other bytes came back")
            connection.close()
        require_no_rest(vm)


def require_no_rest(vm):
    """The guest and its monitor hold nothing of connections that have ended."""
    vm.wait_until(lambda: len(os.listdir(f"/proc/{vm.process.pid}/fd")) < 100 or "the monitor still holds descriptors", 30)
    vm.wait_until(lambda: int(vm.check("ls /proc | grep -c '^[0-9]'")) < 100 or "the guest still has processes", 30, 1)
