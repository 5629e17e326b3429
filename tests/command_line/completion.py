"""Completion: what the program offers is what its help lists, and three shells offer that."""
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
AERATE = ROOT / "build/release/aerate"
SCRIPTS = ROOT / "contrib/completion"


class Missing(Exception):
    pass


def offered(*words):
    """The words that are offered where the last one is being typed."""
    done = subprocess.run([AERATE, "complete", *words], capture_output=True, text=True, timeout=30, check=True, stdin=subprocess.DEVNULL)
    return [line.split("  ", maxsplit=1)[0] for line in done.stdout.splitlines()]


def check_offers(commands, help_of):
    """Every subcommand, and every option of each, as its help lists them."""
    count = 0
    for words in commands:
        names = re.findall(r"^  (-\S+)", help_of(words), re.MULTILINE)  # "-h,--help": a short name is offered where there is no other
        options = {name for listed in names for name in listed.split(",") if name.startswith("--")}
        have = set(offered(*words, "-"))
        if not options or not options <= have:
            raise Missing(f"{words}: help lists {options - have}, which are not offered")
        if have - options:
            raise Missing(f"{words}: offers {have - options}, which help does not list")
        if words and words[-1] not in offered(*words[:-1], words[-1][:1]):
            raise Missing(f"{words} is not offered")
        count += len(have)
    for typed, expected in (
            (["r"], ["run", "resume", "restore", "receive"]),
            (["help", "ru"], ["run"]),
            (["run", "--testbed", "a"], ["auto", "always"]),
            (["run", "--testbed=a"], ["--testbed=auto", "--testbed=always"]),
            (["run", "--testbed", "=", "n"], ["never"]),  # as bash splits it
            (["run", "--testbed", "="], ["auto", "always", "never"]),
            (["run", "--kernel", "x"], [":files"]),
            (["run", "--allow", ""], [":directories"]),
            (["run", "--nonsense=x"], []),
            (["restore", ""], [":files"]),
            (["snapshot", "vm", ""], [":files"]),
            (["hint", "s"], ["start", "status", "stop"]),
            (["run", "--kernel", "x", "--trac"], ["--track-dirty"]),
            (["nonsense", "x"], []),
            (["run", "--append", "--"], []),
            (["stat", "--", "--"], [])):
        if sorted(offered(*typed)) != sorted(expected):
            raise Missing(f"{typed}: offers {offered(*typed)}, not {expected}")
        count += 1
    if len(offered("")) < 20 or offered() != offered(""):
        raise Missing(f"offers {offered('')}")
    return count


def type_in(shell, setup, typed, expected):
    """Types into a shell at a terminal, and waits until `expected` is seen."""
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {"PATH": f"{AERATE.parent}:/usr/bin:/bin", "TERM": "dumb", "HOME": "/nonexistent", "AERATE_RUNTIME_DIR": "/nonexistent", "LANG": "C.UTF-8"}
        os.chdir(ROOT / "contrib")
        os.execvpe(shell[0], shell, environment)
    seen = b""
    pending = [*setup, b"echo READY-$((40+2))\n", None, typed]
    try:
        deadline = time.monotonic() + 60
        while expected not in seen and time.monotonic() < deadline:
            while pending and pending[0] is not None:
                os.write(terminal, pending.pop(0))
            if not select.select([terminal], [], [], 1)[0]:
                continue
            seen += os.read(terminal, 4096)
            if pending and b"READY-42" in seen:
                seen = b""
                pending.pop(0)
    except OSError:
        pass  # the shell has ended
    finally:
        os.close(terminal)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    if expected not in seen:
        raise Missing(f"{shell[0]}, after {typed}: {expected} is not in {seen}")


def check_shells():
    bash = (["bash", "--norc", "-i"], [f"source {SCRIPTS}/aerate.bash\n".encode()])
    zsh = (["zsh", "-f", "-i"], [f"fpath=({SCRIPTS} $fpath); autoload -U compinit; compinit -u -D\n".encode()])
    tried = []
    for shell, setup in (bash, zsh):
        if not shutil.which(shell[0]):
            print(f"completion: SKIPPED in {shell[0]}, which is missing: scripts/setup --package installs it")
            continue
        for typed, expected in ((b"aerate sque\t", b"squeeze "), (b"aerate run --testbed nev\t", b"never "),
                                (b"aerate run --kernel compl\t", b"completion/"), (b"aerate run --track-d\t", b"--track-dirty ")):
            type_in(shell, setup, typed, expected)
        tried.append(shell[0])
    if shutil.which("fish"):
        for line, expected in (("aerate sque", "squeeze\t"), ("aerate run --testbed nev", "never"), ("aerate run --kernel compl", "completion/"),
                               ("aerate run --track-d", "--track-dirty\t")):
            done = subprocess.run(["fish", "--no-config", "-c", f"source {SCRIPTS}/aerate.fish; complete -C '{line}'"], capture_output=True, text=True, timeout=60, check=False,
                                  stdin=subprocess.DEVNULL, cwd=ROOT / "contrib", env=os.environ | {"PATH": f"{AERATE.parent}:{os.environ['PATH']}"})
            if expected not in done.stdout:
                raise Missing(f"fish, {line}: {expected!r} is not in {done.stdout!r}{done.stderr}")
        tried.append("fish")
    else:
        print("completion: SKIPPED in fish, which is missing: scripts/setup --package installs it")
    return tried
