"""The monitor as the person at the terminal has it: signals, descriptors, console, commands and their errors."""
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

from guests import Bubble, GuestError, Skipped, aerate, path, require

HERE = pathlib.Path(__file__).resolve().parent


def tiny():
    """The guest of one page, assembled here."""
    built = pathlib.Path(path("tiny"))
    if not built.exists():
        if not shutil.which("gcc"):
            raise Skipped("there is no gcc to assemble the guest with")
        subprocess.run(["gcc", "-c", "-m64", HERE / "tiny.S", "-o", path("tiny.o")], check=True)
        subprocess.run(["ld", "--no-warn-rwx-segments", "-T", HERE / "tiny.ld", "-o", built, path("tiny.o")], check=True)
    return str(built)


class Tiny(Bubble):
    def __init__(self, letter, name="tiny", flags=(), memory="32M"):
        self.name, self.runtime = name, os.environ["AERATE_RUNTIME_DIR"]
        self.start([path("aerate"), "run", "--name", name, "--kernel", tiny(), "--mem", memory, "--append", letter, *flags])


def run(*words, environment=None):
    """One command as at a terminal of 80 columns: exit status, output, errors."""
    done = subprocess.run([path("aerate"), *words], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, check=False,
                          env=os.environ | {"COLUMNS": "80"} | (environment or {}))
    return done.returncode, done.stdout, done.stderr


def ignored_signals_stay_ignored():
    """What was ignored at exec stays so (nohup); what ends the monitor is named."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        vm = Tiny("s", flags=("--console", "none"))
    finally:
        signal.signal(signal.SIGHUP, before)
    with vm:
        deadline = time.monotonic() + 20
        while True:
            try:
                vm.status()
                break
            except OSError:
                require(time.monotonic() < deadline, "it does not answer")
                time.sleep(0.02)
        vm.process.send_signal(signal.SIGHUP)
        require(vm.status()["state"] == "Running", "SIGHUP ended it")
        vm.process.send_signal(signal.SIGTERM)
        vm.wait_for(r"ended by SIGTERM from process \d+ of user \d+")
        vm.end()
    return "SIGHUP was ignored, SIGTERM is named"


def closed_descriptors():
    """Started with any of its standard descriptors closed, it runs, and no file of its own takes their place."""
    for closed in ("0<&-", "1>&-", "0<&- 1>&- 2>&-"):
        name = "closed"
        command = f"exec {path('aerate')} run --name {name} --kernel {tiny()} --mem 32M --append s {closed}"
        with subprocess.Popen(["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 20
            while run("stat", name)[0] != 0:
                require(process.poll() is None and time.monotonic() < deadline, f"{closed}: it does not run: {process.poll()}")
                time.sleep(0.02)
            for number in re.findall(r"\d", closed):
                place = os.readlink(f"/proc/{process.pid}/fd/{number}")
                require(place == "/dev/null", f"{closed}: descriptor {number} is {place}")
            aerate("stop", "--kill", name)
            process.wait(20)
    return "3 ways"


def pasted_text_arrives(size=20000):
    """Every line that is pasted into the console is answered by the guest."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(path("aerate"), [path("aerate"), "run", "--name", "paste", "--kernel", path("bubble"), "--mem", "64M", "--append", "bubble.script=serial"])
    said = b""

    def listen(until, seconds):
        nonlocal said
        deadline = time.monotonic() + seconds
        while not until() and time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.05)[0]:
                said += os.read(terminal, 65536)

    try:
        listen(lambda: b"BUBBLE-READY" in said, 30)
        line = b"verify " + b"x" * 92 + b"\n"
        text = line * (size // len(line))
        os.set_blocking(terminal, False)
        sent = 0
        while sent < len(text):
            try:
                sent += os.write(terminal, text[sent:sent + 4096])
            except BlockingIOError:
                now = len(said)
                listen(lambda now=now: len(said) > now, 5)
        lines = text.count(b"\n")
        listen(lambda: said.count(b"error") >= lines, 60)
        answers = said.count(b"error")
        require(answers == lines, f"{answers} of {lines} pasted lines were answered")
        return f"{lines} lines"
    finally:
        run("stop", "--kill", "paste")
        os.waitpid(pid, 0)


def triple_faults_have_a_limit():
    """A guest that triple-faults again and again writes no more than its share of the log, and what is held back is counted."""
    with Tiny("t", flags=("--console", "none")) as vm:
        seen = vm.wait_for(r"reset by a|it cannot emulate an instruction")[0][0]
        if "emulate" in seen:
            raise Skipped("this host's KVM emulates, and does not know how to triple-fault")
        deadline = time.monotonic() + 30
        while True:
            try:
                held = [counter["value"] for counter in vm.status()["counters"] if counter["name"] == "log_held_back"]
            except (OSError, GuestError):
                held = []
            if held and held[0] > 20:
                break
            require(time.monotonic() < deadline, f"only {held} messages were held back")
            time.sleep(0.02)
        seconds = time.monotonic() - vm.started
        told = sum("reset by a" in line for line in vm.log)
        require(told <= 10 * (1 + seconds / 5), f"{told} lines in {seconds:.1f} s")
        aerate("stop", "--kill", vm.name)
    return f"{told} lines, {held[0]} held back in {seconds:.1f} s"


def panic_is_shown():
    """A guest whose kernel has panicked is "Crashed", with the reason, where one looks."""
    with Tiny("p", flags=("--console", "none")) as vm:
        vm.wait_for("has panicked")
        require(vm.status()["state"] == "Crashed", "it is not shown as crashed")
        listed = run("ps")[1]
        require("Crashed" in listed and "tiny has crashed: the guest's kernel has panicked" in listed, listed)
        require("panicked" in run("stat", vm.name)[1], "stat does not say why")
        aerate("stop", "--kill", vm.name)
        vm.end()
    return "Crashed"


def missing_driver_is_said():
    """A guest without a balloon driver: every command that has to do with it says so."""
    with Tiny("s", flags=("--console", "none")) as vm:
        deadline = time.monotonic() + 20
        while run("stat", vm.name)[0] != 0:
            require(time.monotonic() < deadline, "it does not answer")
            time.sleep(0.02)
        require("no driver" in run("ps")[1], "ps says nothing")
        require("no balloon driver" in run("stat", vm.name)[1], "stat says nothing")
        status, _, errors = run("balloon", vm.name, "16M")
        require(status == 0 and "virtio_balloon" in errors, f"balloon says {errors}")
        began = time.monotonic()
        status, _, errors = run("stop", vm.name)
        took = time.monotonic() - began
        require(status == 0 and "--kill" in errors and took < 10, f"stop says {errors} after {took:.1f} s")
        status, _, errors = run("stop", "--wait", "1", vm.name)
        require(status == 1 and "still running after 1 s" in errors, f"stop --wait says {errors}")
        aerate("stop", "--kill", vm.name)
        vm.end()
    return "ps, stat, balloon and stop"


# What no user should be shown: a library's words, an exception's type, an assertion.
LIBRARIES = re.compile(r"json\.exception|nlohmann|terminate called|std::|what\(\)|CHECK\(|Segmentation|boost")


def commands_are_answered():
    """What a command says of a VM that is there: reversed, wrong and unknown arguments, at 80 columns. Without a VM: tests/command_line."""
    tried = 0

    def expect(words, statuses, *texts):
        nonlocal tried
        tried += 1
        status, output, errors = run(*words)
        require(status in statuses, f"{words}: status {status}: {output}{errors}")
        require(not LIBRARIES.search(output + errors), f"{words}: {errors}")
        require(status == 0 or errors.strip(), f"{words}: says nothing")
        for text in texts:
            require(text in output + errors, f"{words}: does not say {text!r}: {output}{errors}")
        return output

    expect(["restore", path("bubble")], (1,))
    broken = pathlib.Path(path("broken.json"))
    broken.write_text('{"machine-config": ]', encoding="utf-8")
    expect(["run", "--config", str(broken)], (1,), "not valid at line 1, column 20")
    with Tiny("s", flags=("--console", "none")) as vm:
        deadline = time.monotonic() + 20
        while run("stat", vm.name)[0] != 0:
            require(time.monotonic() < deadline, "it does not answer")
            time.sleep(0.02)
        for words in (["balloon", "16M", vm.name], ["api", "GET", vm.name, "/version"], ["migrate", "unix:/nowhere", vm.name],
                      ["snapshot", "vm.snap", vm.name]):
            expect(words, (2,), "comes first")
        expect(["balloon", vm.name, "much"], (2,), "not a size")
        expect(["balloon", vm.name, "1K"], (2,), "whole number of MiB")
        expect(["api", vm.name, "BREW", "/version"], (2,), "BREW is not a method")
        expect(["api", vm.name, "DELETE", "/aerate/migration"], (0,))
        expect(["api", vm.name, "PATCH", "/balloon", "{"], (1,), "not valid at line 1")
        expect(["api", vm.name, "PUT", "/aerate/squeeze", '{"keep_bytes": 1, "keep_mib": 1}'], (1,), "keep_mib: unknown field")
        expect(["hint", vm.name, "start"], (2,))
        for words in (["ps"], ["top", "--iterations", "1"], ["stat", vm.name]):
            output = expect(words, (0,))
            if words[0] != "stat":
                wide = [line for line in output.splitlines() if len(line) > 80]
                require(not wide, f"{words}: wider than 80 columns: {wide}")
        aerate("stop", "--kill", vm.name)
        vm.end()
    return f"{tried} command lines"


# Commands of the README that this machine cannot run, or that run for ever: with a time limit, they must not fail before it.
ELSEWHERE = ("cmake ", "scripts/", "build/release/aerate run", "aerate migrate")  # a build, stock kernels, a second host
ENDLESS = ("aerate top", "aerate restore", "aerate receive")


def readme_commands_work():
    """The README's commands, as they stand there, on a guest whose name is NAME."""
    readme = (HERE.parent.parent / "README.md").read_text(encoding="utf-8")
    ran, left_out = [], []
    for heading in ("## Save it, clone it, move it", "## Run your own guest"):
        section = readme.split(heading)[1].split("\n## ")[0]
        vm = Bubble.__new__(Bubble)
        vm.name, vm.runtime = "NAME", os.environ["AERATE_RUNTIME_DIR"]
        vm.start([path("aerate"), "run", "--name", vm.name, "--kernel", path("bubble"), "--mem", "1G", "--append",
                  "bubble.script=churn bubble.seconds=120 bubble.driver=stock-linux"])
        with vm:
            vm.wait_for("BUBBLE-PROGRESS")
            for line in re.findall(r"^    (.+)$", section, re.MULTILINE):
                command = line.split(" #")[0].strip()
                if command.startswith(ELSEWHERE):
                    left_out.append(command)
                    continue
                limited = f"timeout 2 {command}" if command.startswith(ENDLESS) else command
                done = subprocess.run(["sh", "-c", limited], cwd=vm.runtime, capture_output=True, text=True, timeout=60, check=False,
                                      stdin=subprocess.DEVNULL, env=os.environ | {"PATH": f"{vm.runtime}:{os.environ['PATH']}"})
                right = (0, 124) if command.startswith(ENDLESS) else (0,)
                require(done.returncode in right, f"{command}: status {done.returncode}: {done.stdout}{done.stderr}")
                ran.append(command)
    require(len(ran) >= 12, f"only {ran}")
    return f"{len(ran)} ran, {len(left_out)} need another machine"


def permission_is_an_error():
    """Who may not open /dev/kvm is told so, and gets no emulator."""
    if os.geteuid() != 0 or os.stat("/dev/kvm").st_mode & 0o006 or not shutil.which("setpriv"):
        raise Skipped("needs root, setpriv, and a /dev/kvm that is not everybody's")
    with tempfile.TemporaryDirectory(prefix="open-") as open_to_all:
        os.chmod(open_to_all, 0o755)
        binary = shutil.copy(path("aerate"), open_to_all)
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary, "run", "--kernel", "/nonexistent"],
                              capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL,
                              env={"PATH": os.environ["PATH"], "AERATE_TESTBED": "auto"})
    require(done.returncode == 1 and "permission denied: add yourself to the group kvm" in done.stderr, f"{done.returncode}: {done.stderr}")
    require("--testbed always" in done.stderr, done.stderr)
    return done.stderr.strip()


SCENARIOS = {
    "S9_triple_faults_have_a_limit": triple_faults_have_a_limit,
    "C11_ignored_signals_stay_ignored": ignored_signals_stay_ignored,
    "C11_closed_descriptors": closed_descriptors,
    "C12_pasted_text_arrives": pasted_text_arrives,
    "C23_permission_is_an_error": permission_is_an_error,
    "C24_panic_is_shown": panic_is_shown,
    "C25_commands_are_answered": commands_are_answered,
    "C28_missing_driver_is_said": missing_driver_is_said,
    "C28_readme_commands_work": readme_commands_work,
}
