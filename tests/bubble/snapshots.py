"""A guest that is saved, restored, cloned, and saved again as what has changed."""
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import time

from guests import Bubble, Later, Skipped, aerate, path, require


def generations(driver):
    """A guest that churns is saved with its hints, restored and saved again; what it finds in its pages must be its own."""
    file, sizes = path("bubble.snap"), []
    with contextlib.ExitStack() as monitors:
        vm = monitors.enter_context(Bubble("churn", seconds=8, driver=driver))
        vm.wait_for("BUBBLE-PROGRESS")
        for generation in range(5):
            aerate("snapshot", vm.name, file, "--sweep", "--stop", "--force")
            vm.end()
            sizes.append(os.stat(file).st_blocks * 512 >> 20)
            vm = monitors.enter_context(Later(f"generation{generation}", "restore", file, "--verify"))
            time.sleep(0.5)
        return f"{vm.ended_well()} files of {sizes} MiB"


def diffs(driver):
    """A chain of four diffs, each taken of the restored one before while the guest churns, with balloon, sweep and a failed move between."""
    folder, sizes = os.environ["AERATE_RUNTIME_DIR"], []
    file = os.path.join(folder, f"diffs-{driver}-0.snap")
    with contextlib.ExitStack() as monitors:
        vm = monitors.enter_context(Bubble("churn", seconds=10, driver=driver))
        vm.wait_for("BUBBLE-PROGRESS")
        aerate("snapshot", vm.name, file, "--stop")
        vm.end()
        for generation in range(1, 5):
            vm = monitors.enter_context(Later(f"diff{generation}", "restore", file, "--verify", "--track-dirty"))
            vm.wait_for("BUBBLE-PROGRESS")
            bother(vm, generation)
            file = os.path.join(folder, f"diffs-{driver}-{generation}.snap")
            aerate("snapshot", vm.name, file, "--diff", "--stop", *(["--sweep"] if generation % 2 else []))
            vm.end()
            sizes.append(os.stat(file).st_blocks * 512 >> 20)
        vm = monitors.enter_context(Later("last", "restore", file, "--verify"))
        return f"{vm.ended_well()} diffs of {sizes} MiB"


def ask(vm, method, route, **body):
    aerate("api", vm.name, method, route, json.dumps(body))


def rebase(base, diff):
    """What Firecracker's snapshot-editor does: copies what is no hole."""
    with open(base, "r+b") as into, open(diff, "rb") as file:
        at, end = 0, os.fstat(file.fileno()).st_size
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            os.pwrite(into.fileno(), os.pread(file.fileno(), hole - at, at), at)
            at = hole


def diffs_in_two_files(driver):
    """As Firecracker's clients take them: paused, merged afterwards or at once, and loaded to be saved again."""
    folder, sizes = os.environ["AERATE_RUNTIME_DIR"], []
    state, memory, changes = (os.path.join(folder, f"two-{driver}.{name}") for name in ("state", "memory", "changes"))
    with contextlib.ExitStack() as monitors:
        vm = monitors.enter_context(Bubble("churn", ["--track-dirty"], seconds=12, driver=driver))
        vm.wait_for("BUBBLE-PROGRESS")
        for generation in range(6):
            if generation:
                bother(vm, generation)
            ask(vm, "PATCH", "/vm", state="Paused")
            into = changes if generation % 3 == 1 else memory
            ask(vm, "PUT", "/snapshot/create", snapshot_path=state, mem_file_path=into, snapshot_type="Diff")
            sizes.append(os.stat(into).st_blocks * 512 >> 20)
            if generation == 3:
                ask(vm, "PATCH", "/vm", state="Resumed")
                time.sleep(0.3)
                continue
            aerate("stop", "--kill", vm.name)
            vm.end()
            vm = monitors.enter_context(Later(f"two-{driver}-{generation}", "run", "--api-only"))
            vm.wait_until(lambda name=vm.name: subprocess.run([path("aerate"), "api", name, "GET", "/"], capture_output=True, timeout=20, check=False).returncode == 0
                          or "no API", 10, 0.05)
            load = {"snapshot_path": state, "track_dirty_pages": generation != 2, "verify": True, "resume_vm": True}
            if into == changes:
                refused = subprocess.run([path("aerate"), "api", vm.name, "PUT", "/snapshot/load", json.dumps({**load, "mem_file_path": changes})],
                                         capture_output=True, text=True, timeout=20, check=False)
                require(refused.returncode != 0 and "not merged" in refused.stdout + refused.stderr, f"unmerged: {refused}")
                rebase(memory, changes)
                os.unlink(changes)
            ask(vm, "PUT", "/snapshot/load", **load, mem_file_path=memory)
            time.sleep(0.3)
        return f"{vm.ended_well()} files of {sizes} MiB"


def bother(vm, which):
    """What others do to the guest between two snapshots, and must not make the tracker forget."""
    if which == 1:
        aerate("balloon", vm.name, "16M")
        time.sleep(0.3)
        aerate("balloon", vm.name, "0")
    elif which == 2:
        aerate("sweep", vm.name)
    elif which == 3:
        address = f"unix:{vm.runtime}/not-there"
        with Later("not-there", "receive", address) as there:
            there.wait_for("waiting for a guest")
            # Over a link that does not carry it in any time, until somebody loses patience: a guest that gets little of a busy
            # processor writes little, and would move over any other.
            with subprocess.Popen([path("aerate"), "migrate", vm.name, address, "--bandwidth", "64K"], stderr=subprocess.PIPE, text=True) as command:
                deadline = time.monotonic() + 30
                while vm.api("GET", "/aerate/migration")["phase"] not in ("copying", "stopping"):
                    require(time.monotonic() < deadline and command.poll() is None, "no page is on its way")
                    time.sleep(0.02)
                command.send_signal(signal.SIGINT)
                said = command.communicate(timeout=30)[1]
            require("stays here" in said, f"it moved: {said}")
    time.sleep(0.3)


def diffs_of_one_life():
    """Four diffs of a guest that goes on; each can be restored, as long as those before it are there."""
    files = [path(f"life{index}.snap") for index in range(5)]
    with contextlib.ExitStack() as monitors:
        vm = monitors.enter_context(Bubble("churn", seconds=6, driver="stock-linux"))
        vm.wait_for("BUBBLE-PROGRESS")
        refused = subprocess.run([path("aerate"), "snapshot", vm.name, files[1], "--diff"], capture_output=True, text=True, timeout=20, check=False)
        require(refused.returncode == 1 and "track_dirty_pages" in refused.stderr, f"a diff of nothing: {refused}")
        aerate("snapshot", vm.name, files[0], "--track-dirty")
        for file in files[1:]:
            time.sleep(0.2)
            aerate("snapshot", vm.name, file, "--diff")
        copies = [monitors.enter_context(Later(f"life{index}", "restore", file, "--verify")) for index, file in enumerate(files)]
        said = [copy.ended_well() for copy in [vm, *copies]]
        return f"{said[-1]} files of {[os.stat(file).st_blocks * 512 >> 20 for file in files]} MiB"


def other_backing(backing):
    """Memory that others can map, or of huge pages: a full snapshot, two diffs, and back, each time into the same kind."""
    folder = os.environ["AERATE_RUNTIME_DIR"]
    files = [os.path.join(folder, f"{backing}{index}.snap") for index in range(3)]
    with contextlib.ExitStack() as stack:
        if backing == "hugetlb":
            stack.enter_context(huge_pages(48))
        vm = stack.enter_context(Bubble("churn", ["--backing", backing], seconds=5, driver="stock-linux"))
        vm.wait_for("BUBBLE-PROGRESS")
        for index, file in enumerate(files):
            aerate("snapshot", vm.name, file, "--stop", "--sweep", *(["--diff"] if index else []))
            vm.end()
            vm = stack.enter_context(Later(f"{backing}{index}", "restore", file, "--verify", "--track-dirty"))
            vm.wait_for("BUBBLE-PROGRESS")
            require(vm.api("GET", "/machine-config")["backing"] == backing, "it came back in other memory")
        return f"{vm.ended_well()} files of {[os.stat(file).st_blocks * 512 >> 20 for file in files]} MiB"


def no_huge_pages():
    """A guest of huge pages where there are none is refused, and the reason says what to do."""
    file = path("huge.snap")
    with huge_pages(48), Bubble("serial", ["--backing", "hugetlb"]) as vm:
        vm.wait_for("BUBBLE-READY")
        aerate("snapshot", vm.name, file, "--stop")
        vm.end()
    refused = subprocess.run([path("aerate"), "restore", file], capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    require(refused.returncode == 1 and "nr_hugepages" in refused.stderr, f"{refused}")
    return refused.stderr.strip()


@contextlib.contextmanager
def huge_pages(count):
    """So many in the host's pool, whatever was there before."""
    pool = pathlib.Path("/proc/sys/vm/nr_hugepages")
    before = pool.read_text()
    try:
        pool.write_text(str(int(before) + count))
        have = int(pool.read_text()) - int(before)
    except OSError as error:
        raise Skipped(f"no huge pages can be had: {error}") from None
    try:
        if have < count:
            raise Skipped(f"no huge pages can be had: the host gives {have} of {count}")
        yield
    finally:
        pool.write_text(before)


WORKING_SET_BLOCKS = int(os.environ.get("AERATE_WORKING_SET_BLOCKS", "8"))


def working_set():
    """What a restored guest has touched is noted, and the next one finds it read, in pages that it shares."""
    block, stride = 1024, 8  # pages
    file = path("working-set.snap")
    with Bubble("serial", memory="512M") as vm:
        vm.wait_for("BUBBLE-READY")
        blocks = [vm.ask("alloc 10") for _ in range(2 * WORKING_SET_BLOCKS)]
        for first in blocks:
            vm.ask(f"write {first} 7 {block}")
        aerate("snapshot", vm.name, file, "--stop")
        vm.end()
    touched = random.Random(1).sample(blocks, WORKING_SET_BLOCKS)
    total = WORKING_SET_BLOCKS * block // stride * 4096

    def restore(*flags, wait=0.0, cold=True):
        """Seconds that the guest needs to touch its set, some time after it was restored; the monitor's pages of the file at that moment."""
        if cold:
            with open(file, "rb") as cached:
                os.posix_fadvise(cached.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with Later("working-set", "restore", file, *flags) as vm:
            while not os.path.exists(os.path.join(vm.runtime, vm.name + ".sock")):
                time.sleep(0.001)
            time.sleep(wait)
            began, before = time.monotonic(), mapped_of(vm.process.pid, file)
            for first in touched:
                vm.ask(f"verify {first} 7 {block} {stride}")
            took = time.monotonic() - began
            while "--record-working-set" in flags and not os.path.exists(file + ".working-set"):
                time.sleep(0.01)
            vm.ask("poweroff")
            vm.end()
            return took, before

    restore("--record-working-set", "2")
    require(os.stat(file + ".working-set").st_size < 64 << 10, "it is large")
    cold, nothing = restore("--no-prefetch", wait=1)
    cached, _ = restore("--no-prefetch", wait=1, cold=False)
    ahead, (resident, private) = restore(wait=1)
    at_once, _ = restore()
    require(resident >= total, f"{resident >> 20} of {total >> 20} MiB were read ahead; without {nothing[0] >> 20}")
    require(private < total / 8, f"{private >> 20} MiB are the guest's own: it shares them no more")
    times = {"from the disk": cold, "from the page cache": cached, "read ahead": ahead, "while it is read ahead": at_once}
    return f"{total >> 20} MiB touched: {', '.join(f'{how} {time_taken * 1000:.0f} ms' for how, time_taken in times.items())}; {resident >> 20} MiB mapped, {private >> 10} KiB its own"


def mapped_of(pid, name):
    """Bytes of the file that the process has mapped, and those of its own."""
    resident = private = 0
    inside = False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and len(words) >= 5:
            inside = words[-1] == name
        elif inside and words[0] == "Rss:":
            resident += int(words[1]) << 10
        elif inside and words[0] == "Anonymous:":
            private += int(words[1]) << 10
    return resident, private


@contextlib.contextmanager
def small_disk(size):
    """A file system with so much room."""
    folder = tempfile.mkdtemp(dir=os.environ["AERATE_RUNTIME_DIR"])
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "aerate-test", folder], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        raise Skipped(f"no small file system can be had: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def diff_after_error():
    """A diff that finds no room on the disk loses nothing: the next one has what it would have had."""
    with small_disk(128 << 20) as folder, contextlib.ExitStack() as monitors:
        base, failed, diff, filler = (os.path.join(folder, name) for name in ("base", "failed", "diff", "filler"))
        vm = monitors.enter_context(Bubble("churn", seconds=5, driver="stock-linux"))
        vm.wait_for("BUBBLE-PROGRESS")
        aerate("snapshot", vm.name, base, "--track-dirty")
        for _ in range(3):
            time.sleep(0.2)
            with open(filler, "wb") as file:
                room = os.statvfs(folder)
                file.write(bytes(room.f_bavail * room.f_bsize - (1 << 20)))
            refused = subprocess.run([path("aerate"), "snapshot", vm.name, failed, "--diff"], capture_output=True, text=True, timeout=20, check=False)
            require("make room" in refused.stderr and sorted(os.listdir(folder)) == ["base", "filler"], f"{refused} {os.listdir(folder)}")
            os.unlink(filler)
        aerate("snapshot", vm.name, diff, "--diff")
        copy = monitors.enter_context(Later("copy", "restore", diff, "--verify"))
        vm.ended_well()
        return f"{copy.ended_well()} diff of {os.stat(diff).st_blocks * 512 >> 20} MiB after three that failed"


def C27_a_plain_snapshot_keeps_an_operators_round():  # noqa: N802
    """An operator's hint round goes on over a snapshot that asks for no hints: the guest is not told that it is done."""
    done = 1  # a command ID of virtio_balloon; 0 is stopped, which the guest does when it has no more hints
    with Bubble("churn", seconds=20, driver="hold-until-used") as vm:
        vm.wait_for("BUBBLE-PROGRESS")
        vm.api("PATCH", "/balloon/hinting/start", {"acknowledge_on_stop": False})
        before = vm.api("GET", "/balloon/hinting/status")["host_cmd"]
        require(before != done, f"no round: {before}")
        aerate("snapshot", vm.name, path("kept-round.snap"), "--force")
        after = vm.api("GET", "/balloon/hinting/status")["host_cmd"]
        require(after != done, f"command {before} became {after}")
        aerate("stop", "--kill", vm.name)
        vm.end()
    return f"command {before}"


def diff_of_an_idle_guest():
    """Takes next to no room."""
    base, diff = (path(name) for name in ("idle.snap", "idle-diff.snap"))
    with Bubble("serial") as vm:
        vm.wait_for("BUBBLE-READY")
        aerate("snapshot", vm.name, base, "--track-dirty")
        time.sleep(1)
        aerate("snapshot", vm.name, diff, "--diff")
        vm.send("poweroff")
        vm.end()
    full, size = (os.stat(file).st_blocks * 512 for file in (base, diff))
    with Later("idle", "restore", diff, "--verify") as vm:
        vm.send("poweroff")
        vm.end()
    require(size < 256 << 10, f"the diff of an idle guest takes {size >> 10} KiB")
    return f"{size >> 10} KiB, the full one {full >> 10} KiB"


def clones():
    """Ten of one snapshot at once, each with its own future."""
    file = path("clones.snap")
    with contextlib.ExitStack() as monitors:
        vm = monitors.enter_context(Bubble("churn", seconds=3, driver="hold-until-used"))
        vm.wait_for("BUBBLE-PROGRESS")
        aerate("snapshot", vm.name, file)
        copies = [monitors.enter_context(Later(f"clone{index}", "restore", file)) for index in range(10)]
        vm.ended_well()
        return min(copy.ended_well() for copy in copies)
