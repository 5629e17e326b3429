"""Monitors in a jail, as `aerate jail` starts them: by root for another user, and by a user without root."""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import signal
import stat
import statistics
import subprocess
import tempfile
import time

from guests import Bubble, Skipped, path, require

JAILED, USER = 65533, 65532  # of nobody here
CGROUP = f"jails-{os.getpid()}"
SOCKET = "run/firecracker.socket"
NAMESPACES = ("mnt", "ipc", "uts", "cgroup")


class Jail(Bubble):
    """A guest whose monitor is in a jail; the console is this process's, unless it runs on its own."""

    def __init__(self, base, words, name="vm1", program="aerate", under=(), launcher=(), vm=()):
        self.name, self.runtime = name, os.environ["AERATE_RUNTIME_DIR"]
        self.root = pathlib.Path(base, program, name, "root")
        self.command = [*under, *(launcher or (f"{os.path.dirname(base)}/aerate", "jail")), "--id", name, "--chroot-base-dir", base, *words]
        self.start([*self.command, "--", "--config-file", "/vm.json", *vm])

    def connect(self):
        """The API's socket, from outside: its path is too long for an address, and its directory is its user's alone."""
        link = pathlib.Path(self.runtime, f"{self.name}.sock")
        link.unlink(missing_ok=True)
        link.symlink_to(self.root / SOCKET)
        return super().connect()

    def pid(self):
        return int(next(self.root.glob("*.pid")).read_text())


@contextlib.contextmanager
def base_for(user, program="aerate", names=("vm1",), memory=64):
    """A directory for jails, with what the guests named so need in their roots."""
    with tempfile.TemporaryDirectory(prefix="jails-", dir="/var/tmp") as place:
        os.chmod(place, 0o755)
        shutil.copy(path("aerate"), place)
        for name in names:
            root = pathlib.Path(place, "base", program, name, "root")
            root.mkdir(parents=True)
            shutil.copy(path("bubble"), root)
            balloon = {"amount_mib": 0, "deflate_on_oom": False, "stats_polling_interval_s": 1, "free_page_hinting": True, "free_page_reporting": True}
            config = {"boot-source": {"kernel_image_path": "/bubble", "boot_args": "bubble.script=serial"}, "machine-config": {"vcpu_count": 1, "mem_size_mib": memory}, "drives": [], "balloon": balloon}
            (root / "vm.json").write_text(json.dumps(config))
        for file in [place, *pathlib.Path(place).rglob("*")]:
            os.chown(file, user, user)
        yield os.path.join(place, "base")


def needs_root():
    if os.geteuid() != 0:
        raise Skipped("only root can make a jail for somebody else")


def fields(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def check_confined(pid, user, namespaces):
    """What the kernel says of the monitor."""
    said = fields(pid)
    for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        require(int(said[which], 16) == 0, f"{which} is {said[which]}")
    require(said["NoNewPrivs"] == "1" and said["Seccomp"] == "2", f"{said}")
    require(said["Uid"].split() == said["Gid"].split() == [str(user)] * 4, f"{said['Uid']}, {said['Gid']}")
    for name in namespaces:
        require(os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"), f"it shares {name} with the host")
    require(not pathlib.Path(f"/proc/{pid}/environ").read_bytes(), "it has an environment")
    inside = {str(entry.relative_to(f"/proc/{pid}/root")) for entry in pathlib.Path(f"/proc/{pid}/root").rglob("*")}
    layout = {"aerate", "aerate.pid", "bubble", "vm.json", "dev", "dev/kvm", "dev/net", "dev/net/tun", "dev/urandom", "run", SOCKET}
    require(layout - {"dev/net/tun"} <= inside <= layout | {"dev/userfaultfd"}, f"in its root there is {inside ^ layout}")
    return said


def left_of(base):
    return sorted(str(entry.relative_to(base)) for entry in pathlib.Path(base).rglob("*"))


def remove(command):
    """Clears a jail up; what an operator has put there stays, and is said."""
    left = subprocess.run([*command, "--remove"], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False)
    require(left.returncode == 1 and "that were not made by this command" in left.stderr, f"{left}")


def forget_cgroups():
    """Removes the parents, which stay: that fails if a jail's is left."""
    for parent in [*pathlib.Path("/sys/fs/cgroup").glob(f"*/{CGROUP}"), *pathlib.Path("/sys/fs/cgroup").glob(CGROUP)]:
        parent.rmdir()


def jail_of_root():
    """For another user: everything that a jail is to be, by the kernel's word, and the API from outside."""
    needs_root()
    pids = pathlib.Path("/sys/fs/cgroup/pids")
    cgroup = ("--cgroup", "pids.max=100", "--parent-cgroup", CGROUP) if pids.is_dir() or pathlib.Path("/sys/fs/cgroup/cgroup.procs").exists() else ()
    with base_for(0) as base:
        words = ["--uid", str(JAILED), "--gid", str(JAILED), "--new-net-ns", *cgroup]
        with Jail(base, words) as vm:
            vm.wait_for("BUBBLE-READY")
            require(vm.pid() == vm.process.pid, "it is another process")
            check_confined(vm.process.pid, JAILED, (*NAMESPACES, "net"))
            require(len(pathlib.Path(f"/proc/{vm.process.pid}/mountinfo").read_text().splitlines()) == 1, "it has other mounts")
            if cgroup:
                require(f"/{CGROUP}/vm1" in pathlib.Path(f"/proc/{vm.process.pid}/cgroup").read_text(), "it is in no cgroup of its own")
            require(vm.api("GET", "/")["id"] == "vm1", "its API has another VM")
            require(vm.api("GET", "/aerate/status")["sandbox"]["seccomp"], "it has no seccomp filters")
            second = subprocess.run(vm.command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False)
            require(second.returncode == 1 and f"runs, as process {vm.process.pid}" in second.stderr, f"{second}")
            vm.send("poweroff")
            vm.end()
        remove(vm.command)
        require(left_of(base) == ["aerate", "aerate/vm1", "aerate/vm1/root", "aerate/vm1/root/bubble", "aerate/vm1/root/vm.json"], f"{left_of(base)}")
        require(base not in pathlib.Path("/proc/self/mountinfo").read_text(), "a mount is left")
        if cgroup:
            forget_cgroups()
    return "in a cgroup" if cgroup else "without a cgroup: this host has none that could be used"


def jail_on_its_own():
    """--daemonize and --new-pid-ns, by the names that Firecracker's users know: the launcher returns when the program runs."""
    needs_root()
    with base_for(0, program="firecracker") as base:
        place = os.path.dirname(base)
        for name in ("jailer", "firecracker"):
            os.symlink("aerate", os.path.join(place, name))
        words = ["--uid", str(JAILED), "--gid", str(JAILED), "--exec-file", f"{place}/firecracker", "--daemonize", "--new-pid-ns", "--resource-limit", "no-file=500"]
        with Jail(base, words, program="firecracker", launcher=(f"{place}/jailer",)) as vm:
            require(vm.process.wait(timeout=20) == 0 and not [line for line in vm.log if line], f"{vm.log}")
            pid = vm.pid()
            said = fields(pid)
            require(said["NSpid"].split()[-1] == "1" and said["Name"] == "firecracker", f"{said}")
            require("Max open files            500 " in pathlib.Path(f"/proc/{pid}/limits").read_text(), "it has other limits")
            require(os.getsid(pid) == pid and os.readlink(f"/proc/{pid}/fd/1") == "/dev/null", "it has not left the session")
            wait_until(lambda: stat.S_ISSOCK((vm.root / SOCKET).stat().st_mode), FileNotFoundError)
            require(vm.api("GET", "/")["state"] == "Running", "its guest does not run")
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not pathlib.Path(f"/proc/{pid}/root").exists())
            require(not (vm.root / SOCKET).exists(), "its socket is left")
        remove(vm.command)
    return f"process {pid}"


def wait_until(condition, error=OSError):
    for _ in range(400):
        with contextlib.suppress(error):
            if condition():
                return
        time.sleep(0.05)
    require(False, "it never came to that")


def with_open_kvm(base):
    """Commands under which a user may open /dev/kvm, as Debian's group kvm may: by a node that only they see."""
    if os.stat("/dev/kvm").st_mode & 0o006 == 0o006:
        return as_user()
    node = f"{os.path.dirname(base)}/kvm"
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(10, 232))
    os.chmod(node, 0o666)
    return ("unshare", "--mount", "sh", "-c", f'mount --bind {node} /dev/kvm && exec "$@"', "sh", *as_user())


def as_user():
    return ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")


def ask_as_user(socket):
    """The API's answer to the user whose jail it is, which root is not: in there it is nobody."""
    program = ("import http.client, socket, sys; c = http.client.HTTPConnection('localhost'); c.sock = socket.socket(socket.AF_UNIX); c.sock.connect(sys.argv[1]); "
               "c.request('GET', '/'); print(c.getresponse().read().decode())")
    done = subprocess.run([*as_user(), "python3", "-c", program, socket], capture_output=True, text=True, timeout=30, check=True, stdin=subprocess.DEVNULL)
    return json.loads(done.stdout)


def jail_without_root():
    """A user's own, in a namespace of users: the same layout, the same confinement."""
    needs_root()  # to become a user
    with base_for(USER) as base:
        under = with_open_kvm(base)
        with Jail(base, ["--new-net-ns"], under=under) as vm:
            vm.wait_for("BUBBLE-READY")
            require(vm.pid() == vm.process.pid, "it is another process")
            check_confined(vm.process.pid, USER, (*NAMESPACES, "net", "user"))
            require(ask_as_user(vm.root / SOCKET)["id"] == "vm1", "its API has another VM")
            vm.send("poweroff")
            vm.end()
        remove(vm.command)
        require("aerate/vm1/root/dev" not in left_of(base), f"{left_of(base)}")
        refused = subprocess.run([*under, f"{os.path.dirname(base)}/aerate", "jail", "--id", "vm1", "--chroot-base-dir", base, "--uid", "0"], capture_output=True, text=True, timeout=20,
                                 stdin=subprocess.DEVNULL, check=False)
        require(refused.returncode == 1 and "it takes root" in refused.stderr, f"{refused}")
    return f"as {USER}"


def jail_too_small():
    """A cgroup that cannot hold the guest is an error before the start, and not a kill some time later."""
    needs_root()
    with base_for(0, memory=512) as base:
        for limit, refused in (("512M", True), ("max", False), ("600M", False)):
            done = subprocess.run([f"{os.path.dirname(base)}/aerate", "jail", "--id", "vm1", "--uid", "1", "--gid", "1", "--chroot-base-dir", base, "--cgroup", f"memory.max={limit}", "--parent-cgroup", CGROUP, "--netns", "/nonexistent",
                                   "--", "--config-file", "/vm.json"], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False)
            require(done.returncode == 1 and ("the guest has 512 MiB" in done.stderr) == refused, f"{limit}: {done}")
        remove([f"{os.path.dirname(base)}/aerate", "jail", "--id", "vm1", "--chroot-base-dir", base, "--parent-cgroup", CGROUP])
        forget_cgroups()
    return "512 MiB in 512M"


def timed(command):
    began = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=120, stdin=subprocess.DEVNULL, check=True)
    return (time.monotonic() - began) * 1000


def jails_at_once():
    """What a jail costs at the start, and a hundred at once; for people to read."""
    needs_root()
    with base_for(0, names=()) as base:
        place = os.path.dirname(base)

        def jail(name):
            return [f"{place}/aerate", "jail", "--id", name, "--uid", str(JAILED), "--gid", str(JAILED), "--chroot-base-dir", base]

        plain = statistics.median(timed([f"{place}/aerate", "firecracker", "--version"]) for _ in range(20))
        alone = statistics.median(timed([*jail(f"one-{number}"), "--", "--version"]) for number in range(20))
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            each = list(pool.map(lambda number: timed([*jail(f"many-{number}"), "--", "--version"]), range(100)))
        took = (time.monotonic() - began) * 1000
        for name in [*(f"one-{number}" for number in range(20)), *(f"many-{number}" for number in range(100))]:
            subprocess.run([*jail(name), "--remove"], check=True, timeout=20, stdin=subprocess.DEVNULL)
        require(left_of(base) == ["aerate"], f"{left_of(base)[:5]}")
    return f"{plain:.1f} ms without, {alone:.1f} ms in a jail (medians of 20); 100 at once in {took:.0f} ms, each {statistics.median(each):.0f} ms"


SCENARIOS = {scenario.__name__: scenario for scenario in (jail_of_root, jail_on_its_own, jail_without_root, jail_too_small, jails_at_once)}
