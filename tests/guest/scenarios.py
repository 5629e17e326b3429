#!/usr/bin/env python3
"""Runs the scenarios against one guest kernel, inside whatever machine has a working /dev/kvm.

Each scenario is a function named after what it shows, and raises when something is wrong. Boots are what takes time here, so most
scenarios share one guest with others: they get it as they find it, and leave it with the balloon empty and their files deleted.
"""
import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from registry import GUESTS, SCENARIOS  # noqa: E402
from vm import PATIENCE, GuestError, Vm  # noqa: E402

class Context:
    """What a scenario gets: makes guests, holds the one that is shared, runs the command line."""

    def __init__(self, arguments):
        self.kernel, self.initrd, self.release = arguments.kernel, arguments.initrd, arguments.release
        self.compiler_initrd, self.driver_initrd = arguments.compiler_initrd, arguments.driver_initrd
        self.programs = arguments.programs
        self.binary = self.program("aerate")
        self.runtime = os.environ["AERATE_RUNTIME_DIR"]
        self.count = 0
        self.shared, self.shared_name = None, None

    def program(self, name):
        return os.path.join(self.programs, name)

    def next_name(self):
        self.count += 1
        return f"t{self.count}"

    def vm(self, initrd=None, **options):
        return Vm(self.binary, self.kernel, initrd or self.initrd, self.next_name(), **options)

    def other(self, *words):
        """A guest that does not begin with a kernel: what `aerate WORDS... --name NAME` runs."""
        vm = Vm.__new__(Vm)
        vm.name, vm.runtime = self.next_name(), self.runtime
        vm.start([self.binary, *words, "--files", self.runtime, "--name", vm.name])
        return vm

    def guest(self, name):
        """The shared guest of that name, booted and ready."""
        if self.shared_name != name or self.shared.process.poll() is not None:
            self.drop_guest()
            self.shared, self.shared_name = GUESTS[name](self), name
            seconds = self.shared.wait_ready(60)
            print(f"    guest '{name}' ready after {seconds:.1f} s", flush=True)
        return self.shared

    def drop_guest(self):
        if self.shared:
            self.shared.__exit__()
        self.shared, self.shared_name = None, None

    def cli(self, *words, check=True):
        done = subprocess.run([self.binary, *words], capture_output=True, text=True, timeout=60 * PATIENCE, check=False)
        if check and done.returncode != 0:
            raise GuestError(f"aerate {' '.join(words)}: status {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def file(self, name):
        return os.path.join(self.runtime, name)


def attempt_scenario(function, context):
    """None, or what went wrong: a scenario that breaks in any way has failed."""
    def give_up(*_):
        raise GuestError(f"not done in {function.longest} s")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(function.longest)
    try:
        if function.guest:
            function(context, context.guest(function.guest))
        else:
            context.drop_guest()
            function(context)
    except Exception as caught:
        signal.alarm(0)
        context.drop_guest()  # whoever is next gets a fresh one
        where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(traceback.extract_tb(caught.__traceback__)[1:]))
        return f"{type(caught).__name__}: {caught} ({where})"
    finally:
        signal.alarm(0)
    return None


def run_scenario(function, context):
    """The result as a line of the results file."""
    began, error = time.monotonic(), None
    context.parts = []
    print(f"[ {context.release} ] {function.__name__}", flush=True)
    # The testbed's emulation is known to break guests and its own kernel now and then, under any monitor: only there
    # a scenario has a second try, and the log says what the first one met.
    tries = 2 if "AERATE_IN_TESTBED" in os.environ else 1
    for attempt in range(1, tries + 1):
        error = attempt_scenario(function, context)
        if error is None:
            break
        print(f"    try {attempt} of {tries}: {error}", flush=True)
    seconds = round(time.monotonic() - began, 1)
    print(f"    {'FAILED: ' + error if error else 'ok'}, {seconds} s", flush=True)
    return {"name": function.__name__, "seconds": seconds, "error": error, "parts": context.parts}


# Each adds its scenarios; this is the order in which they run.
import host_policy  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import
import common  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import
import shapes  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import
import own_guests  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import
import moving  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import
import network  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import
import driver  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import
import private_disks  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import
import sockets  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import
import clocks  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import
import endurance  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import
import detached  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import
import host_memory  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True, help="the directory of aerate and of the test programs that scenarios run")
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--initrd", required=True)
    parser.add_argument("--compiler-initrd", required=True, help="an initramfs that has a compiler too")
    parser.add_argument("--driver-initrd", required=True, help="an initramfs that has Aerate's balloon driver, and loads none")
    parser.add_argument("--release", required=True, help="what uname -r begins with")
    parser.add_argument("--results", required=True, help="file that gets a line of JSON for each finished scenario")
    parser.add_argument("--list", metavar="RELEASE", help="print the names of the scenarios for that kernel and end; of those that run only by name, with --by-name")
    parser.add_argument("names", nargs="*", help="scenarios to run; all by default")
    if "--list" in sys.argv:
        print("\n".join(function.__name__ for function in SCENARIOS
                        if sys.argv[-1] in function.kernels and (sys.argv[-1] not in function.by_default) == ("--by-name" in sys.argv)))
        return 0
    arguments = parser.parse_args()

    runtime = tempfile.mkdtemp(prefix="aerate-test-")
    os.environ["AERATE_RUNTIME_DIR"] = runtime
    os.environ["AERATE_TESTBED"] = "never"
    context = Context(arguments)
    failures = 0
    # A line a finished scenario: whoever started this machine learns what is left to do should the machine itself die.
    with open(arguments.results, "a", encoding="utf-8") as results:
        for function in SCENARIOS:
            wanted = function.__name__ in arguments.names if arguments.names else arguments.release in function.by_default
            if arguments.release not in function.kernels or not wanted:
                continue
            result = run_scenario(function, context)
            failures += result["error"] is not None
            results.write(json.dumps(result) + "\n")
            results.flush()
            os.fsync(results.fileno())
    context.drop_guest()
    with contextlib.suppress(OSError):
        shutil.rmtree(runtime)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
