"""A guest of `aerate run`, as the tests and benchmarks hold it: its console, its API, its end."""
import http.client
import json
import os
import queue
import re
import signal
import socket
import subprocess
import threading
import time


# The testbed is slow, and when others use its outer machine too, slower by any factor: a limit there is for what never comes.
PATIENCE = 5 if "AERATE_IN_TESTBED" in os.environ else 1


class GuestError(Exception):
    """What went wrong, with the end of the guest's console."""


def allowing(directory, command):
    """A command that starts a monitor, which may then save, move and open what is in that directory."""
    for at, word in enumerate(command[1:], 1):
        if word in ("run", "restore", "receive") and os.path.basename(command[at - 1]).startswith("aerate"):
            return [*command[:at + 1], "--allow", directory, *command[at + 1:]]
    return command


class Vm:
    """Starts a monitor with the guest's console on pipes; a context manager that leaves nothing behind.

    `binary` and the paths are the monitor's; `arguments` are added to the command line of `aerate run`.
    """

    is_attacked = False  # whether someone makes system calls in the monitor's name, for which it may have to end

    def __init__(self, binary, kernel, initrd, name, memory="512M", vcpus=1, append="", arguments=()):
        self.name = name
        self.runtime = os.environ["AERATE_RUNTIME_DIR"]
        self.start([binary, "run", "--name", name, "--kernel", kernel, "--initrd", initrd, "--mem", memory, "--vcpus", str(vcpus),
                    "--append", f"console=ttyS0 quiet panic=-1 mitigations=off {append}".strip(), *arguments])

    def start(self, command):
        self.lines = queue.Queue()
        self.log = []
        self.started = time.monotonic()
        self.process = subprocess.Popen(allowing(self.runtime, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        # Whatever the scenario looked at: a monitor that its own confinement ended has failed.
        if self.process.wait() == -signal.SIGSYS and not self.is_attacked:
            raise GuestError(f"{self.name} made a system call that its confinement does not allow: {self.log[-10:]}")

    def _read(self):
        for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip("\r\n")
            if not self.heard(text):
                self.log.append(text)
                self.lines.put(text)
        self.lines.put(None)

    def heard(self, text):
        """Called with each line, at once; a true answer keeps it from everybody else."""

    def wait_for(self, pattern, timeout=60):
        """Returns the first console line from now on that matches, with the lines before it."""
        timeout *= PATIENCE
        before, deadline = [], time.monotonic() + timeout
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise GuestError(f"{self.name}: no '{pattern}' on the console in {timeout} s; it ended:\n" + "\n".join(self.log[-25:])) from None
            if line is None:
                raise GuestError(f"{self.name}: the monitor ended (status {self.process.wait()}) before '{pattern}':\n" + "\n".join(self.log[-25:]))
            match = re.search(pattern, line)
            if match:
                return match, before
            before.append(line)

    def wait_ready(self, timeout=90):
        """Waits until the guest's init takes commands; returns seconds since the monitor was started."""
        self.wait_for(r"AERATE-GUEST-READY", timeout)
        return time.monotonic() - self.started

    def send(self, command):
        self.process.stdin.write((command + "\n").encode())
        self.process.stdin.flush()

    def run(self, command, timeout=20):
        """Runs a shell command in the guest; returns (exit status, output)."""
        self.send(command)
        match, before = self.wait_for(r"##END (\d+)", timeout)
        return int(match[1]), "\n".join(before)

    def check(self, command, timeout=20):
        status, output = self.run(command, timeout)
        if status != 0:
            raise GuestError(f"{self.name}: '{command}' ended with {status}: {output}")
        return output

    def guest_memory(self):
        """The guest's own view, in MiB: (total, free, available)."""
        match = re.search(r"MEM (\d+) (\d+) (\d+)", self.check("mem"))
        return tuple(int(value) / 1024 for value in match.groups())

    def connect(self):
        """A connection to the VM's API, for requests one after the other."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(20 * PATIENCE)
        connection.sock.connect(os.path.join(self.runtime, self.name + ".sock"))
        return connection

    def api(self, method, path, body=None, expect=(200, 204), connection=None):
        """One request to the VM's API; the parsed JSON (None when empty)."""
        kept = connection is not None
        connection = connection or self.connect()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read().decode()
        if not kept:
            connection.close()
        if expect and response.status not in expect:
            raise GuestError(f"{self.name}: {method} {path}: {response.status} {text}")
        try:
            return json.loads(text) if text else None
        except json.JSONDecodeError:
            return text

    def status(self):
        return self.api("GET", "/aerate/status")

    def resident_mib(self):
        """What the host spends on the guest's memory now."""
        return self.status()["memory"]["resident_bytes"] / 2**20

    def monitor_rss_mib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024

    def wait_until(self, condition, timeout, period=0.2):
        """Samples `condition()` until it holds; returns the seconds that took, or raises with its last value."""
        timeout *= PATIENCE
        began = time.monotonic()
        while True:
            value = condition()
            elapsed = time.monotonic() - began
            if value is True:
                return elapsed
            if elapsed > timeout:
                raise GuestError(f"{self.name}: not within {timeout} s: {value}")
            time.sleep(period)

    def set_balloon(self, mib, timeout=60):
        """Sets the balloon's target and waits for the guest to follow; returns the seconds that took."""
        self.api("PATCH", "/balloon", {"amount_mib": mib})
        return self.wait_until(lambda: self.status()["balloon"]["actual_bytes"] == mib << 20 or self.status()["balloon"], timeout)

    def power_off(self, timeout=30):
        """The guest powers itself off; returns the monitor's exit status."""
        self.send("poweroff -f")
        return self.wait_for_end(timeout)

    def wait_for_end(self, timeout=10):
        """The monitor's exit status."""
        return self.process.wait(timeout * PATIENCE)
