"""Snapshot files that were changed: sealed ones, ones cut short, ones that are written to."""
import contextlib
import os
import subprocess

from guests import Bubble, Later, aerate, path, require


def refused_restore(*words):
    """What a restore says that must not succeed."""
    result = subprocess.run([path("aerate"), "restore", *words], capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    require(result.returncode == 1, f"restore {' '.join(words)}: {result}")
    return result.stderr


def saved_pages(name, *flags):
    """A guest that has written 32 pages is saved; the file, the first page, and where it is in the file."""
    file = path(name)
    with Bubble("serial") as vm:
        vm.wait_for("BUBBLE-READY")
        first = int(vm.ask("alloc 5"), 0)
        vm.ask(f"write {first} 7 32")
        aerate("snapshot", vm.name, file, "--stop", *flags)
        vm.end()
    return file, first, 4096 + first * 4096


def change(file, offset):
    with open(file, "r+b") as opened:
        opened.seek(offset)
        byte = opened.read(1)[0]
        opened.seek(offset)
        opened.write(bytes([byte ^ 1]))


def S3_a_key_protects_memory():  # noqa: N802
    """A page that was changed in a sealed file is refused, one that changes while its guest runs is not seen, and a file without the key is none."""
    key = path("snapshot.key")
    with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as secret:
        secret.write(os.urandom(32))
    file, first, offset = saved_pages("sealed.snap", "--key", key)
    change(file, offset + 5)
    said = refused_restore(file, "--key", key)
    require("its memory is damaged" in said, said)
    change(file, offset + 5)
    with Later("sealed", "restore", file, "--key", key) as vm:
        vm.ask(f"verify {first} 7 32")
        change(file, offset + 4096)
        os.truncate(file, 4096)
        vm.ask(f"verify {first} 7 32")
        vm.send("poweroff")
        vm.end()
    plain, _, _ = saved_pages("plain.snap")
    said = refused_restore(plain, "--key", key)
    require("without a key" in said, said)
    return said.strip()


def S6_a_file_cut_short_is_a_crash_with_a_reason():  # noqa: N802
    """The clones of a file that is cut short stand still and say why; a file that others can write is refused."""
    file, first, _ = saved_pages("cut.snap")
    os.chmod(file, 0o662)
    require("chmod go-w" in refused_restore(file), "anybody can change it")
    os.chmod(file, 0o600)
    with Later("cut", "restore", file) as vm:
        vm.ask(f"verify {first} 7 16")  # it runs
        os.truncate(file, 4096)
        vm.send(f"verify {first} 7 32")
        said, _ = vm.wait_for(r"has crashed.* (the snapshot .* was cut short .*)")
        require(vm.status()["state"] == "Crashed", f"it is {vm.status()['state']}")
        refused = subprocess.run([path("aerate"), "snapshot", vm.name, path("of-nothing.snap")], capture_output=True, text=True, timeout=20, check=False)
        require(refused.returncode == 1 and not os.path.exists(path("of-nothing.snap")), f"{refused}")
        aerate("stop", "--kill", vm.name)
        vm.end()
    return said[1]


def S6_who_writes_into_the_file_waits_until_its_guests_stand():  # noqa: N802
    """A file that is overwritten in place feeds its clones nothing: they crash before it is; who reads it does no harm."""
    file, first, offset = saved_pages("overwritten.snap")
    with contextlib.ExitStack() as monitors:
        copies = [monitors.enter_context(Later(f"overwritten{index}", "restore", file)) for index in range(3)]
        for vm in copies:
            vm.ask(f"verify {first} 7 16")
        with open(file, "rb") as opened:
            opened.read(1)
        require(all(vm.status()["state"] == "Running" for vm in copies), "one has crashed for nothing")
        change(file, offset + 20 * 4096)
        said = [vm.wait_for(r"has crashed.* (the snapshot .* is being written to.*)")[0][1] for vm in copies]
        require(all(vm.status()["state"] == "Crashed" for vm in copies), "they do not say so")
        for vm in copies:
            aerate("stop", "--kill", vm.name)
            vm.end()
    return said[0]
