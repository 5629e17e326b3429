"""What is tried with User Mode Linux as the front-end. Each scenario is a function named after what it shows, and raises when something is wrong."""
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import time

from uml import Daemon, GuestError, LateBackEnd, QemuWithOtherDevice, Uml

SCENARIOS = []
PAGE_POISON, RING_PACKED = 4, 34  # feature bits


def scenario(function):
    SCENARIOS.append(function)
    return function


def require(condition, message):
    if not condition:
        raise GuestError(message)


def testbed(*words):
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    return subprocess.run([root / "testbed" / words[0], *words[1:]], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


class Context:
    """What a scenario gets: makes daemons and guests, which end with it."""

    def __init__(self, binary, initrd, root, soak_seconds):
        self.binary, self.initrd, self.root, self.soak_seconds = binary, initrd, root, soak_seconds
        self.directory, self.stack, self.last_daemon = None, None, None

    @contextlib.contextmanager
    def fresh(self):
        with contextlib.ExitStack() as stack:
            self.directory = stack.enter_context(tempfile.TemporaryDirectory(dir=self.root))
            self.stack = stack
            try:
                yield
            except Exception:
                if self.last_daemon:
                    print(self.last_daemon.said(), flush=True)
                raise

    def program(self, name):
        return f"{self.root}/{name}"

    def daemon(self, *arguments, name="guest", prefix=()):
        self.last_daemon = self.stack.enter_context(Daemon(self.binary, self.directory, name, arguments, prefix))
        return self.last_daemon

    def uml(self, daemon, name=None, **options):
        """A guest, booted, its driver not loaded yet."""
        uml = self.stack.enter_context(Uml(self.initrd, daemon.socket, name or daemon.name, self.directory, **options))
        uml.wait_ready(30)
        return uml

    def guest(self, *arguments, **options):
        """A daemon, and one guest with its driver loaded."""
        daemon = self.daemon("--stats-interval", "1", *arguments)
        uml = self.uml(daemon, **options)
        uml.load_driver()
        return uml

    def aerate(self, *words, status=0):
        done = subprocess.run([self.binary, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
        require(done.returncode == status, f"aerate {' '.join(words)}: {done.returncode}, {done.stderr}")
        return done.stdout if status == 0 else done.stderr


@scenario
def commands_treat_the_guest_like_any_other(context):
    daemon = context.daemon("--stats-interval", "1")
    uml = context.uml(daemon)
    require(json.loads(context.aerate("ps", "--json"))[0]["state"] == "Not started", "without its driver the guest counts as running")
    uml.load_driver()
    uml.wait_until(lambda: uml.status()["state"] == "Running" or uml.status(), 5)
    listed = json.loads(context.aerate("ps", "--json"))
    require([vm["name"] for vm in listed] == ["guest"], f"ps: {listed}")
    require(listed[0]["pid"] == uml.process.pid, "ps does not show the front-end's process")
    require(490 << 20 < listed[0]["memory"]["guest_size_bytes"] <= 512 << 20, f"ps: {listed}")
    require("guest" in context.aerate("top", "--iterations", "1"), "top does not show the guest")
    uml.wait_until(lambda: "free_memory" in context.aerate("stat", "guest") or "no statistics", 5)
    context.aerate("balloon", "guest", "64M")
    uml.wait_until(lambda: uml.ballooned_mib() == 64 or uml.ballooned_mib(), 10)
    require("actual 64.0 MiB" in context.aerate("balloon", "guest"), context.aerate("balloon", "guest"))
    context.aerate("balloon", "guest", "0")
    uml.wait_until(lambda: uml.ballooned_mib() == 0 or uml.ballooned_mib(), 10)
    context.aerate("hint", "start", "guest")
    uml.wait_until(lambda: uml.counter("balloon_hinted_pages") > 0 or "no hints", 10)
    require("aerate_memory_bytes{vm=\"guest\",state=\"resident\"}" in uml.api("GET", "/metrics"), "no metrics")
    for words, why, status in ((["sweep", "guest"], "dirty log", 1), (["pause", "guest"], "monitor", 1), (["snapshot", "guest", "/nowhere"], "monitor", 1),
                               (["stop", "guest"], "monitor", 1), (["migrate", "guest", "tcp:127.0.0.1:1"], "monitor", 3)):  # 3: it stays here
        require(why in context.aerate(*words, status=status), f"aerate {words[0]} does not say why it cannot")
    require(uml.power_off() == 0, "the guest did not power off cleanly")
    uml.wait_until(lambda: json.loads(context.aerate("ps", "--json")) == [] or "still listed", 5)


@scenario
def inflates_and_deflates(context):
    uml = context.guest(randomise=True)  # its memory begins anywhere in the file then
    require(uml.negotiated(RING_PACKED), "packed rings were not accepted")
    free = uml.guest_memory()[1]
    seconds = uml.set_balloon(256)
    inflated = uml.guest_memory()[1]
    require(uml.ballooned_mib() == 256, f"ballooned {uml.ballooned_mib()} MiB")
    require(free - inflated > 240, f"free {free:.0f} -> {inflated:.0f} MiB")
    uml.set_balloon(0)
    deflated = uml.guest_memory()[1]
    require(deflated - inflated > 200, f"free {inflated:.0f} -> {deflated:.0f} MiB")
    print(f"    256 MiB in {seconds:.2f} s; free {free:.0f} -> {inflated:.0f} -> {deflated:.0f} MiB")


@scenario
def inflation_gives_memory_back(context):
    uml = context.guest("--no-reporting", "--no-packed")
    require(not uml.negotiated(RING_PACKED), "packed rings were accepted and not offered")
    uml.check("dd if=/dev/zero of=/tmp/fill bs=1M count=300 2>/dev/null; rm /tmp/fill")
    full = uml.resident_mib()
    uml.set_balloon(380)
    print(f"    resident {full:.0f} -> {uml.resident_mib():.0f} MiB")
    require(full > 300 and uml.resident_mib() < full - 250, f"resident {full:.0f} -> {uml.resident_mib():.0f} MiB")
    uml.check("true")


@scenario
def reports_give_memory_back(context):
    uml = context.guest()
    kept = uml.fill("kept", 20)
    time.sleep(4)  # what was free at boot is reported first
    base = uml.resident_mib()
    uml.check("dd if=/dev/zero of=/tmp/fill bs=1M count=250 2>/dev/null")
    full = uml.resident_mib()
    uml.check("rm /tmp/fill")
    seconds = uml.wait_until(lambda: uml.resident_mib() < base + 40 or f"resident {base:.0f} -> {full:.0f} -> {uml.resident_mib():.0f} MiB", 15)
    print(f"    resident {base:.0f} -> {full:.0f} -> {uml.resident_mib():.0f} MiB in {seconds:.1f} s")
    require(full - base > 225, f"resident {base:.0f} -> {full:.0f} MiB")
    require(uml.checksum("kept") == kept, "a file changed")


@scenario
def held_hints_leave_the_guest_alone(context):
    """What the guest hints while nobody listens, its shrinker gives out again, and a file is written there. Whoever discards on the
    late hints destroys it; the shipping use of them does not. Both are shown."""
    for use in ("naive", "shipping"):
        back_end = context.stack.enter_context(LateBackEnd(context.program("late_hints_back_end"), context.directory, use))
        uml = context.uml(back_end, name=use)
        uml.load_driver()
        free = uml.guest_memory()[1]
        back_end.publish()
        uml.wait_until(lambda: uml.guest_memory()[1] < free - 350 or f"free {free:.0f} -> {uml.guest_memory()[1]:.0f} MiB", 15)
        held = uml.guest_memory()[1]
        before = uml.fill("data", 60)
        said = back_end.read_hints()
        # What is in memory now: a shell that lost its own pages could not tell.
        after = uml.checksum("data")
        print(f"    {use}: free {free:.0f} -> {held:.0f} MiB; {said}; the file is {'the same' if before == after else 'another one'}")
        require((before == after) == (use == "shipping"), f"{use}: {before} {after}")


@scenario
def hints_are_never_discarded(context):
    uml = context.guest("--no-reporting")
    free = uml.guest_memory()[1]
    for _ in range(2):
        # The guest keeps what it hints until DONE, or until it needs it.
        uml.api("PATCH", "/balloon/hinting/start", {"acknowledge_on_stop": False})
        uml.wait_until(lambda: uml.guest_memory()[1] < free - 150 or f"free {free:.0f} -> {uml.guest_memory()[1]:.0f} MiB", 10)
        written = uml.fill("data", 50)
        uml.api("PATCH", "/balloon/hinting/stop")
        require(uml.checksum("data") == written, "a file changed")
    require(uml.counter("balloon_hinted_pages") > 100_000, "few hints came")
    require(uml.counter("balloon_discarded_pages") == 0, "something was discarded on a hint")


@scenario
def gives_back_rather_than_run_out(context):
    uml = context.guest(memory="256M")
    uml.set_balloon(150)
    uml.check("dd if=/dev/zero of=/tmp/fill bs=1M count=120 2>/dev/null")
    actual = uml.status()["balloon"]["actual_bytes"] >> 20
    require(actual < 140, f"the balloon still has {actual} MiB")
    require(uml.counter("balloon_unasked_deflations") > 0, "deflations that nobody asked for are not counted")
    uml.set_balloon(0)
    uml.check("rm /tmp/fill")


@scenario
def compaction_moves_ballooned_pages(context):
    uml = context.guest("--no-reporting", memory="128M")
    written = uml.fill("kept", 20)
    uml.check("for i in $(seq 100); do dd if=/dev/zero of=/tmp/f$i bs=64k count=6 2>/dev/null; done; for i in $(seq 1 2 100); do rm /tmp/f$i; done")
    uml.set_balloon(40)
    before = uml.counter("balloon_inflated_pages")
    uml.check("for i in $(seq 2 2 100); do rm /tmp/f$i; done; echo 1 >/proc/sys/vm/compact_memory; sleep 0.2")
    moved = uml.counter("balloon_inflated_pages") - before
    print(f"    {moved} pages moved")
    require(moved > 0, "compaction moved no page of the balloon")
    require(uml.ballooned_mib() == 40, f"ballooned {uml.ballooned_mib()} MiB after compaction")
    require(uml.checksum("kept") == written, "a file changed")


@scenario
def pages_initialised_on_free_stay_zero(context):
    uml = context.guest(append=["init_on_free=1"], memory="256M")
    require(uml.negotiated(PAGE_POISON), "PAGE_POISON was not negotiated")
    uml.check("dd if=/dev/zero of=/tmp/fill bs=1M count=120 2>/dev/null; rm /tmp/fill")
    before = uml.counter("balloon_reported_pages")
    uml.wait_until(lambda: uml.counter("balloon_reported_pages") > before + 20_000 or f"{uml.counter('balloon_reported_pages') - before} pages reported", 10)
    require(uml.counter("guest_balloon_skipped", reason="page_poison") == 0, "reports were refused though the value is zero")
    data = uml.fill("data", 60)
    require(uml.checksum("data") == data, "a file changed")


@scenario
def driver_comes_and_goes(context):
    uml = context.guest()
    for _ in range(3):
        uml.set_balloon(64)
        require(uml.ballooned_mib() == 64, f"ballooned {uml.ballooned_mib()} MiB")
        uml.unload_driver()
        uml.wait_until(lambda: uml.status()["state"] == "Not started" or uml.status()["state"], 5)
        require(uml.guest_memory()[1] > 400, f"the guest has {uml.guest_memory()[1]:.0f} MiB free without its balloon")
        uml.load_driver()
    uml.wait_until(lambda: uml.ballooned_mib() == 64 or uml.ballooned_mib(), 10)
    uml.set_balloon(0)
    require(uml.power_off() == 0, "the guest did not power off cleanly")


@scenario
def a_loaded_balloon_powers_off(context):
    uml = context.guest()
    uml.set_balloon(100)
    began = time.monotonic()
    require(uml.power_off() == 0, "the guest did not power off cleanly")
    require(time.monotonic() - began < 5, "powering off took too long")


@scenario
def two_guests_are_independent(context):
    daemon = context.daemon("--stats-interval", "1")
    first = context.uml(daemon)
    second = context.uml(daemon, name="guest-2", memory="256M")
    first.load_driver()
    second.load_driver()
    first.set_balloon(100)
    second.set_balloon(50)
    require((first.ballooned_mib(), second.ballooned_mib()) == (100, 50), "balloons are mixed up")
    data = second.fill("data", 20)
    require(first.power_off() == 0, "the first guest did not power off cleanly")
    second.set_balloon(80)
    require(second.checksum("data") == data, "a file changed when another guest ended")
    require([vm["name"] for vm in json.loads(context.aerate("ps", "--json"))] == ["guest-2"], "ps lists the wrong guests")


@scenario
def guest_outlives_the_daemon(context):
    """User Mode Linux cannot reconnect. With an empty balloon it powers off too; with one that is not its driver waits for ever
    for the device to take the deflation, so that guest is only asked whether it lives."""
    for mib in (64, 0):
        daemon = context.daemon()
        uml = context.uml(daemon)
        uml.load_driver()
        data = uml.fill("data", 40)
        uml.set_balloon(mib)
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
        # The kernel's complaints share the console, so an answer may be lost among them.
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(GuestError):
                if uml.checksum("data") == data:
                    break
            require(time.monotonic() < deadline, "the guest does not go on without its daemon")
    require(uml.power_off() == 0, "the guest did not power off cleanly")


@scenario
def daemon_needs_no_privilege(context):
    nobody = 65534
    prefix = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    if os.geteuid() == 0:
        # Another user's memory then, too: the guest is root's.
        prefix += [f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]
        os.chown(context.directory, nobody, nobody)
        os.chmod(context.root, 0o711)
    before = os.environ["AERATE_RUNTIME_DIR"]
    os.environ["AERATE_RUNTIME_DIR"] = f"{context.directory}/api"
    try:
        daemon = context.daemon("--stats-interval", "1", prefix=prefix)
        uml = context.uml(daemon)
        uml.load_driver()
        data = uml.fill("data", 30)
        discarded = uml.counter("balloon_discarded_pages")
        uml.set_balloon(128)
        require(uml.counter("balloon_discarded_pages") - discarded >= 128 << 8, "ballooned pages were not given back")
        require(uml.counter("balloon_discard_errors") == 0, "discards failed")
        require(uml.checksum("data") == data, "a file changed")
    finally:
        os.environ["AERATE_RUNTIME_DIR"] = before


@scenario
def squeeze_pushes_the_cache_out(context):
    uml = context.guest()
    uml.fill("small", 20)
    report = json.loads(context.aerate("squeeze", "guest", "--keep", "64M", "--json"))
    require(report["taken_bytes"] > 100 << 20, f"{report}")
    uml.wait_until(lambda: uml.ballooned_mib() == 0 or uml.ballooned_mib(), 10)
    print(f"    {report}")


@scenario
def qemus_front_end_is_served(context):
    """Its negotiation, memory slots and rings, a VM that is stopped and goes on, and one that powers off."""
    daemon = context.daemon()
    kernel = testbed("kernels", "6.1") + "/vmlinuz"
    qemu = context.stack.enter_context(QemuWithOtherDevice(kernel, testbed("guest-initramfs", "6.1"), daemon.socket, daemon.name, context.directory))
    qemu.wait_ready(60)
    qemu.wait_until(lambda: qemu.status()["state"] == "Running" or qemu.status()["state"], 10)
    require(qemu.status()["memory"]["guest_size_bytes"] == 256 << 20, f"{qemu.status()['memory']}")
    require(qemu.counter("guest_balloon_skipped") > 0, "its driver's buffers did not come, or made sense")
    for _ in range(3):
        qemu.qmp("stop")
        qemu.wait_until(lambda: qemu.status()["state"] == "Not started" or qemu.status()["state"], 10)
        qemu.qmp("cont")
        qemu.wait_until(lambda: qemu.status()["state"] == "Running" or qemu.status()["state"], 10)
    require(qemu.counter("vhost_user_refused_messages") == 0 and qemu.counter("guest_ring_faults") == 0, "something of it was refused")
    require(qemu.power_off() == 0, "QEMU did not end cleanly")


@scenario
def idle_costs_nothing(context):
    daemon = context.daemon("--stats-interval", "0")
    uml = context.uml(daemon)
    uml.load_driver()
    time.sleep(5)  # the free memory of boot is reported
    before = daemon.cpu_seconds()
    time.sleep(3)
    spent = daemon.cpu_seconds() - before
    require(spent == 0, f"{spent} s of processor time in 3 s of idling")


@scenario
def soak_with_checksums(context):
    uml = context.guest()
    dice = random.Random(context.soak_seconds)
    files, done = {}, 0
    deadline = time.monotonic() + context.soak_seconds
    while time.monotonic() < deadline:
        choice = dice.randrange(6)
        if choice == 0 and sum(mib for mib, _ in files.values()) < 150:
            mib = dice.randrange(1, 40)
            files[f"f{done}"] = (mib, uml.fill(f"f{done}", mib))
        elif choice == 1 and files:
            name = dice.choice(list(files))
            del files[name]
            uml.check(f"rm /tmp/{name}")
        elif choice == 2:
            uml.api("PATCH", "/balloon", {"amount_mib": dice.randrange(0, 200)})
        elif choice == 3:
            uml.run("true") if dice.randrange(2) else uml.api("PATCH", "/balloon/hinting/start", {"acknowledge_on_stop": bool(dice.randrange(2))})
        elif choice == 4:
            uml.api("PATCH", "/balloon/hinting/stop")
        elif files:
            name = dice.choice(list(files))
            require(uml.checksum(name) == files[name][1], f"{name} changed after {done} steps")
        done += 1
    uml.set_balloon(0)
    for name, (_, checksum) in files.items():
        require(uml.checksum(name) == checksum, f"{name} changed")
    require(not [line for line in uml.log if "WARNING:" in line or "BUG:" in line], "the guest's kernel complains")
    print(f"    {done} steps; {uml.counter('balloon_inflated_pages')} pages in, {uml.counter('balloon_reported_pages') >> 8} MiB reported, "
          f"{uml.counter('balloon_hinted_pages') >> 8} MiB hinted; {len(files)} files right at the end")
    require(uml.power_off() == 0, "the guest did not power off cleanly")
