"""One life: what a VM holds it keeps over its guest's resets, and takes along."""
import os
import shutil
import subprocess

from guests import Bubble, Later, aerate, path, require


def file(name):
    """A path in the folder of this run, where nothing of that name is."""
    place = path(name)
    if os.path.exists(place):
        os.remove(place)
    return place


def disk(name):
    place = file(name)
    with open(place, "wb") as image:
        image.truncate(1 << 20)
    return place


def reboots(vm):
    vm.send("reboot")
    vm.wait_for("BUBBLE-READY")


def C4_reboots_where_its_kernel_is_not():
    """Restored, and moved on from there, to where its kernel's file is gone, with and without a diff between, a guest resets itself."""
    kernel, image, saved, later = file("gone-kernel"), disk("lives-disk"), file("lives.snap"), file("later.snap")
    shutil.copy(path("bubble"), kernel)
    command = [path("aerate"), "run", "--name", "lives", "--kernel", kernel, "--mem", "64M", "--append", "bubble.script=serial", "--drive", image]
    vm = Bubble.__new__(Bubble)
    vm.name, vm.runtime = "lives", os.environ["AERATE_RUNTIME_DIR"]
    vm.start(command)
    with vm:
        vm.wait_for("BUBBLE-READY")
        os.remove(kernel)
        reboots(vm)  # it is open still
        aerate("snapshot", vm.name, saved, "--stop")
        vm.end()
    with Later("lives2", "restore", saved, "--drive", f"drive0={image}", "--track-dirty") as vm:
        reboots(vm)
        aerate("snapshot", vm.name, later, "--track-dirty")
        address = f"unix:{file('lives.move')}"
        with Later("lives3", "receive", address, "--files", os.path.dirname(image)) as there:
            there.wait_for("waiting for a guest")
            aerate("migrate", vm.name, address)
            vm.end()
            there.wait_for("has arrived")
            reboots(there)
            held = subprocess.run([path("aerate"), "run", "--name", "thief", "--kernel", path("bubble"), "--drive", image],
                                  capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
            require(held.returncode == 1 and "in use by another" in held.stderr, f"after a move and a reset the disk is nobody's: {held}")
            there.send("poweroff")
            there.end()
    return "three times"


def S2_a_snapshot_names_no_file_of_this_host():
    """A drive of a snapshot is opened when the operator names it or its directory, and what is missing is said with the command."""
    image, saved = disk("named-disk"), file("named.snap")
    with Bubble("serial", ["--drive", image]) as vm:
        vm.wait_for("BUBBLE-READY")
        aerate("snapshot", vm.name, saved, "--stop")
        vm.end()
    refused = subprocess.run([path("aerate"), "restore", saved], capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    require(refused.returncode == 1 and f"--drive drive0={image}" in refused.stderr, f"{refused}")
    with Later("named", "restore", saved, "--files", os.path.dirname(image)) as vm:
        vm.wait_for(f"drive drive0 is {image}")
        vm.send("poweroff")
        vm.end()
    return "refused, then named"


def answers(vm):
    """Whether its monitor serves already."""
    try:
        return vm.status()["state"] == "Running"
    except OSError:
        return False


def C10_the_console_keeps_what_came_before_a_reset():
    """Over resets, and when its file is emptied meanwhile; a FIFO that nobody reads holds nobody up."""
    log, fifo = file("console.log"), file("console.fifo")
    os.mkfifo(fifo)
    with Bubble("churn", ["--console", fifo], seconds=600) as vm:
        vm.wait_until(lambda: answers(vm) or "its monitor is held up", 20)
        aerate("stop", "--kill", vm.name)
        vm.end()
    for _ in range(2):
        with Bubble("fill-free", ["--console", log], seconds=1) as vm:
            vm.end()
    with open(log, encoding="utf-8") as text:
        said = text.read()
    require(said.count("BUBBLE-START") == 2, f"it is not appended to: {said}")
    return "appended"


def C25_a_detached_start_says_what_is_so():
    """Who waits does not run, and without a socket for its console nothing attaches to it."""
    boot = ("--kernel", path("bubble"), "--mem", "64M", "--append", "bubble.script=serial")
    cases = (("runs, process", True, "run", *boot), ("runs, process", False, "run", *boot, "--console", "none"),
             ("waits until it is started or resumed, process", True, "run", "--no-start"),
             ("waits for a guest, process", True, "receive", f"unix:{file('told')}"),
             ("waits for a guest, process", False, "receive", f"unix:{file('told')}", "--console", "none"))
    for says, attaches, *words in cases:
        done = subprocess.run([path("aerate"), *words, "--name", "told", "--detach"], capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
        try:
            require(done.returncode == 0 and done.stdout.startswith(f"told {says} "), f"{words}: {done}")
            require(("aerate console told" in done.stdout) == attaches, f"{words}: {done.stdout}")
        finally:
            aerate("stop", "--kill", "told")
    return f"{len(cases)} starts"


def C4_a_kernel_that_was_written_to_stays_behind():
    """Cut or overwritten while its guest runs, a kernel is in no snapshot; the guest can be saved and goes on all the same."""
    kernel, saved = file("changed-kernel"), file("changed.snap")
    for change in ("cut", "overwritten"):
        shutil.copy(path("bubble"), kernel)
        vm = Bubble.__new__(Bubble)
        vm.name, vm.runtime = "changed", os.environ["AERATE_RUNTIME_DIR"]
        vm.start([path("aerate"), "run", "--name", vm.name, "--kernel", kernel, "--mem", "64M", "--append", "bubble.script=serial"])
        with vm:
            vm.wait_for("BUBBLE-READY")
            with open(kernel, "r+b") as image:
                if change == "cut":
                    image.truncate(100)
                else:
                    image.write(os.urandom(4096))
            aerate("snapshot", vm.name, saved, "--stop")
            vm.wait_for("kernel image .*changed-kernel has been written to since it was opened")
            vm.end()
        with Later("changed2", "restore", saved) as vm:
            vm.wait_for("no kernel has come with the guest")
            vm.send("poweroff")
            vm.end()
        os.remove(saved)
    return "cut, and overwritten"
