"""A guest that is saved on each kind of file system."""
import contextlib
import os
import pathlib
import re
import subprocess
import tempfile

from guests import Bubble, Later, Skipped, aerate, path, require

# Where this host's kernel does not have them: what they cannot do, they cannot do there either.
# Without umask= others could write to each file, and a diff of such a file is refused. Not FAT: Debian's fusefat (0.1a) says that it has cut a file short, and has not.
MOUNT_IN_USER_SPACE = {"exfat": lambda image, folder: ["mount", "-t", "exfat-fuse", "-o", "loop,umask=077", image, folder]}


def no_driver(kind):
    """Whether this kernel does not mount that kind of file system itself."""
    if kind not in MOUNT_IN_USER_SPACE or subprocess.run(["modprobe", "-q", kind], stdin=subprocess.DEVNULL, check=False).returncode == 0:
        return False
    return not re.search(rf"\t{kind}$", pathlib.Path("/proc/filesystems").read_text(encoding="ascii"), re.M)


@contextlib.contextmanager
def file_system(kind):
    """A small one of that kind, or why there is none."""
    work = tempfile.mkdtemp(dir=os.environ["AERATE_RUNTIME_DIR"])
    folder = os.path.join(work, "mounted")
    os.mkdir(folder)
    if kind == "overlay":
        for name in ("lower", "upper", "work"):
            os.mkdir(os.path.join(work, name))
        commands = [["mount", "-t", "overlay", "-o", f"lowerdir={work}/lower,upperdir={work}/upper,workdir={work}/work", "x", folder]]
    elif kind == "tmpfs":
        commands = [["mount", "-t", "tmpfs", "-o", "size=300M", "x", folder]]
    else:
        image = os.path.join(work, "image")
        with open(image, "wb") as file:
            file.truncate(300 << 20)
        commands = [[f"mkfs.{kind}", image], MOUNT_IN_USER_SPACE[kind](image, folder) if no_driver(kind) else ["mount", "-o", "loop", image, folder]]
    for command in commands:
        try:
            made = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise Skipped(f"{kind}: {error}") from None
        if made.returncode != 0:
            raise Skipped(f"{kind}: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def C30_snapshots_on_every_file_system():  # noqa: N802
    """Full ones, replaced ones and diffs where there are no hard links, no files without a name and no holes."""
    said = []
    for kind in ("tmpfs", "overlay", "ext4", "vfat", "exfat"):
        try:
            with file_system(kind) as folder, Bubble("churn", seconds=20, driver="stock-linux") as vm:
                vm.wait_for("BUBBLE-PROGRESS")
                full, diff = (os.path.join(folder, name) for name in ("full", "diff"))
                aerate("snapshot", vm.name, full, "--track-dirty")
                aerate("snapshot", vm.name, full, "--track-dirty", "--force")
                refused = subprocess.run([path("aerate"), "snapshot", vm.name, full], capture_output=True, text=True, timeout=20, check=False)
                require(refused.returncode == 1 and "exists already" in refused.stderr, f"{kind}: {refused}")
                aerate("snapshot", vm.name, diff, "--diff")
                left = sorted(name for name in os.listdir(folder) if name != "lost+found")
                require(left == ["diff", "full"], f"{kind}: {left}")
                aerate("stop", "--kill", vm.name)
                vm.end()
                with Later("later", "restore", diff, "--verify") as copy:
                    copy.wait_for("BUBBLE-PROGRESS")
                    aerate("stop", "--kill", copy.name)
                    copy.end()
            said.append(kind)
        except Skipped as reason:
            said.append(f"NOT TESTED: {reason}")
    return "; ".join(said)
