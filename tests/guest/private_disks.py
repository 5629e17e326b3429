"""Clones of one guest, whose disks are private over one image."""
import contextlib
import hashlib
import os
import re
import signal
import tempfile

from registry import require, scenario

MIB = 1 << 20


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def layer_mib(vm):
    """What the file without a name takes of the host's disk."""
    folder = f"/proc/{vm.process.pid}/fd"
    layers = [os.stat(f"{folder}/{fd}") for fd in os.listdir(folder) if "(deleted)" in os.readlink(f"{folder}/{fd}") and "/#" in os.readlink(f"{folder}/{fd}")]
    require(len(layers) == 1, f"{len(layers)} files without a name")
    return layers[0].st_blocks * 512 / MIB


def on_disk(vm, first, count):
    """The sum of so many MiB of the guest's disk, as the device has them. A restored guest's monitor has a word on the same console."""
    said = vm.check(f"echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda bs=1M skip={first} count={count} 2>/dev/null | md5sum", 60)
    return re.search(r"\b[0-9a-f]{32}\b", said)[0]


def write(vm, first, count):
    vm.check(f"dd if=/dev/urandom of=/dev/vda bs=1M seek={first} count={count} conv=fsync 2>/dev/null", 60)
    return on_disk(vm, first, count)


def require_stays(context, vm):
    for words in (["snapshot", vm.name, context.file("never.snap")], ["migrate", vm.name, f"unix:{context.file('nobody')}"]):
        refused = context.cli(*words, check=False)
        require(refused.returncode != 0 and "has written to it" in refused.stderr, f"{words[0]}: {refused}")


@contextlib.contextmanager
def shared_image():
    """An image with 8 MiB of data, which is the same afterwards. The nested machine's other directories are on an overlayfs without files that have no name."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = os.path.join(folder, "base")
        with open(path, "wb") as disk:
            disk.write(os.urandom(8 * MIB))
            disk.truncate(64 * MIB)
        before = digest(path)
        yield path
        require(digest(path) == before, "the image was written")
        require(os.listdir(folder) == ["base"], f"left behind: {os.listdir(folder)}")


@scenario(kernels=("6.12",))
def clones_write_private_disks_over_one_image(context):
    file = context.file("clones.snap")
    with shared_image() as image:
        with context.vm(memory="256M", arguments=["--drive", image]) as vm:
            vm.wait_ready(60)
            base = on_disk(vm, 0, 8)
            context.cli("snapshot", vm.name, file, "--stop", "--force")
            vm.wait_for_end(30)
        private = ["restore", file, "--drive", f"drive0={image},private"]
        with context.other(*private) as one, context.other(*private) as two:
            print("    two clones run", flush=True)
            for clone in (one, two):
                require(on_disk(clone, 0, 8) == base, f"a clone reads another disk: {clone.log[-5:]}")
            print("    both read the image", flush=True)
            mine, theirs = write(one, 2, 4), write(two, 4, 1)
            require(on_disk(one, 2, 4) == mine and on_disk(two, 4, 1) == theirs, "a clone does not read what it has written")
            print("    each reads what it has written", flush=True)
            full = layer_mib(one)
            one.check(f"blkdiscard -o {4 * MIB} -l {3 * MIB} /dev/vda")
            require(on_disk(one, 4, 3) == hashlib.md5(bytes(3 * MIB)).hexdigest(), "what was discarded does not read as zero")
            print(f"    4 MiB written take {full:.1f} MiB, and {layer_mib(one):.1f} when 2 of them were discarded", flush=True)
            require(layer_mib(one) <= full - 2, "a discard has freed nothing")
            require_stays(context, one)
            os.kill(two.process.pid, signal.SIGKILL)
            two.process.wait()
            require(os.listdir(os.path.dirname(image)) == ["base"], "a monitor that was killed has left something")


@scenario(kernels=("6.12",))
def a_private_disk_outlives_resets_and_goes_into_no_snapshot(context):
    file = context.file("private.snap")
    with shared_image() as image:
        with context.vm(memory="256M", arguments=["--drive", f"{image},private"]) as vm:
            vm.wait_ready(60)
            base = on_disk(vm, 0, 8)
            context.cli("snapshot", vm.name, file, "--stop", "--force")
            vm.wait_for_end(30)
        with context.other("restore", file, "--drive", f"drive0={image}") as vm:
            require(on_disk(vm, 0, 8) == base, f"it reads another disk: {vm.log[-5:]}")
            require(vm.api("GET", "/vm/config")["drives"][0].get("is_private"), "a disk that was private no longer is")
            mine = write(vm, 1, 2)
            require_stays(context, vm)
            vm.send("reboot -f")
            vm.wait_ready(90)
            require(on_disk(vm, 1, 2) == mine, "the disk of a guest that has reset itself is another")
