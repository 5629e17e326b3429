"""The bare-metal guest `bubble` in a monitor, and the monitors that get it later."""
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "guest"))
from vm import GuestError, Vm  # noqa: E402

DRIVERS = ("hold-until-used", "stock-linux", "wait-on-ack", "reuses-at-once", "writes-after-report", "hints-without-id", "stale-id")
HONEST_DRIVERS = DRIVERS[:3]


def path(name):
    """In the folder of this run, where the programs are too: copies, which no build pulls away."""
    return os.path.join(os.environ["AERATE_RUNTIME_DIR"], name)


def aerate(*command):
    result = subprocess.run([path("aerate"), *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False)
    require(result.returncode == 0, f"aerate {' '.join(command)}: {result.stdout}")


class Skipped(Exception):
    """This machine cannot run the scenario."""


def require(condition, message):
    if not condition:
        raise GuestError(message)


class Bubble(Vm):
    def __init__(self, script, flags=(), memory="64M", under=(), **parameters):
        self.name = "bubble"
        self.runtime = os.environ["AERATE_RUNTIME_DIR"]
        append = " ".join([f"bubble.script={script}", *(f"bubble.{name}={value}" for name, value in parameters.items())])
        self.start([*under, path("aerate"), "run", "--name", self.name, "--kernel", path("bubble"), "--mem", memory, "--append", append, *flags])

    def ask(self, command):
        """One command of the script `serial`; what the reply says after "ok"."""
        self.send(command)
        reply = self.wait_for(r"^(ok|error|corrupt) ?(.*)")[0]
        require(reply[1] == "ok", f"{command}: {reply[0]}")
        return reply[2]

    def ended_well(self, timeout=30):
        """Waits until the script is through and the monitor has ended; returns what the script said of itself."""
        match, _ = self.wait_for(r"BUBBLE-(OK|CORRUPT|FAILED) ?(.*)", timeout)
        require(match[1] == "OK", f"the guest says {match[0]}")
        self.end()
        return match[2]

    def end(self):
        status = self.process.wait(timeout=20)
        require(status == 0, f"the monitor ended with {status}: {self.log[-10:]}")

    def samples(self, period=0.1):
        """The monitor's answers, one after the other, until it has ended."""
        while self.process.poll() is None:
            try:
                yield self.status()
            except (OSError, GuestError):
                # It may just have ended. If it has not, it owes an answer.
                try:
                    self.process.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    raise GuestError("the monitor does not answer") from None
            time.sleep(period)


class Later(Bubble):
    """The same guest in another monitor: restored, or received."""

    def __init__(self, name, *words):
        self.name, self.runtime = name, os.environ["AERATE_RUNTIME_DIR"]
        self.start([path("aerate"), *words, "--name", name])
