"""Moves that are called off, and guests that were given away: there is never a second copy."""
import collections
import contextlib
import os
import pathlib
import random
import signal
import subprocess
import time

from guests import Bubble, GuestError, Later, aerate, path, require
from moves import new_guest, require_whole
from vm import PATIENCE

WAYS = ("TERM", "INT", "TERM twice", "DELETE")


def call_off(way, command, vm):
    """As a person at a terminal, a service manager or a cluster's agent does."""
    if way == "DELETE":
        with contextlib.suppress(OSError, GuestError):  # the monitor may just have ended
            vm.api("DELETE", "/aerate/migration")
        return
    for name in [way.split()[0]] * (1 + way.count("twice")):
        command.send_signal(getattr(signal, f"SIG{name}"))


def ends_without_a_guest(receiver):
    """Returns its exit status. One that no guest was announced to still waits, as "--once" says, and is told to end."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return receiver.process.wait(2)
    if not any("is on its way here" in line for line in receiver.log):
        with contextlib.suppress(GuestError):  # it may just have ended
            aerate("stop", receiver.name)
    return receiver.process.wait(20)


def cancelled_moves(count):
    """Whenever a move is cancelled, and however: one copy runs, the exit status says which, and no note is left of it."""
    moment, seen = random.Random(2), collections.Counter()
    record = pathlib.Path(path("record"))
    record.mkdir()
    with contextlib.ExitStack() as monitors:
        vm = new_guest(monitors)
        for move in range(count):
            way = WAYS[move % len(WAYS)]
            lease = ["--lease", path("lease")] if moment.random() < 0.5 else []
            address = f"unix:{path(f'there{move}.socket')}"
            there = Later(f"there{move}", "receive", address, "--once", *lease)
            there.wait_for("waiting for a guest")
            rate = moment.choice(["0", "0", "40M"])
            with subprocess.Popen([path("aerate"), "migrate", vm.name, address, "--bandwidth", rate, "--record", str(record), *lease],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as command:
                time.sleep(moment.uniform(0.05, 0.5) * PATIENCE)
                call_off(way, command, vm)
                said = command.communicate(timeout=30)[0]
            what = f"move {move}, {way}, {rate}: {command.returncode} {said}"
            seen[command.returncode] += 1
            if command.returncode == 0:
                vm.end()
                require_whole(vm)
                vm = monitors.enter_context(there)
                vm.wait_for("the guest has arrived")
            else:
                # The command takes signals when it has found the VM; an earlier one ends it before it has asked for anything.
                too_early = command.returncode in (-signal.SIGTERM, -signal.SIGINT) and not said
                require(too_early or (command.returncode == 3 and "stays here" in said), what)
                require(ends_without_a_guest(there) == 3, f"it runs twice: {what}")
                there.__exit__()
            require(vm.status()["state"] == "Running", f"{what}: {vm.status()}")
            vm.wait_for("BUBBLE-PROGRESS")
            require(not list(record.iterdir()), f"a note is left: {what}")
        require_whole(vm)
        aerate("stop", "--kill", vm.name)
        vm.end()
    require(seen[3] and seen[0], f"{dict(seen)}: this shows nothing")
    return f"{seen[3]} stayed, {seen[0]} moved"


def what_was_given_away_is_not_started_again():
    """A note says that the guest may run elsewhere: it is not started, unless the lease says that it is ours."""
    record, lease = pathlib.Path(path("given")), path("given.lease")
    record.mkdir()
    words = [path("aerate"), "run", "--name", "bubble", "--kernel", path("bubble"), "--console", "none", "--record", str(record)]

    def refused(*more):
        said = subprocess.run([*words, *more], capture_output=True, text=True, timeout=20, check=False)
        require(said.returncode == 1 and "bubble was given to the other side of a migration" in said.stderr, f"{said}")
        return said.stderr

    note = record / f"given-{os.urandom(16).hex()}"
    first = "Given to the other side of a migration. It may run there: find out before it is started here again.\n"
    note.write_text(first)  # as an older release wrote it
    require(str(note) in refused(), "it does not say which file")
    restored = subprocess.run([path("aerate"), "restore", path("no.snap"), "--name", "bubble", "--record", str(record)], capture_output=True, text=True, timeout=20, check=False)
    require(restored.returncode == 1 and "bubble was given to the other side of a migration" in restored.stderr, f"a snapshot of it is restored: {restored}")
    require("had no lease" in refused("--lease", lease), "a lease that the move did not have decides")
    kept = pathlib.Path(lease).read_bytes()
    note.write_text(f"{first}guest bubble\nlease {kept[8:24].hex()} {int.from_bytes(kept[24:32], 'little')}\n")
    require("give it here too" in refused(), "it does not say what to do")
    with Bubble("churn", flags=("--record", str(record), "--lease", lease), seconds=60, driver="stock-linux") as vm:
        vm.wait_for("it is this side's|that it is this side's")
        vm.wait_for("BUBBLE-PROGRESS")
        require(not note.exists(), "the note is still there")
        aerate("stop", "--kill", vm.name)
        vm.end()
