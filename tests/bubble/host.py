"""What the host refuses a monitor whose guest runs."""
import mmap
import pathlib
import subprocess
import time

from guests import Bubble, Skipped, aerate, path, require
from snapshots import huge_pages


def S7_a_limit_on_file_sizes_is_an_io_error():
    """The console's file and a snapshot's may have no more bytes: the guest runs on to its end."""
    console = path("limited.console")
    with Bubble("fill-free", ["--console", console], under=("prlimit", "--fsize=16"), seconds=3) as vm:
        wait_until(lambda: runs(vm), "the guest does not run")
        refused = subprocess.run([path("aerate"), "snapshot", vm.name, path("limited.snap")], capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
        require(refused.returncode == 1 and "File too large" in refused.stderr, f"{refused}")
        vm.end()
    require(pathlib.Path(console).stat().st_size == 16, "the console's file is not as long as it may be")
    return refused.stderr.strip()


def runs(vm):
    """Whether the monitor answers, and its guest has touched memory."""
    try:
        return vm.status()["memory"]["resident_bytes"] > 0
    except OSError:
        return False


def huge_pages_in_pool():
    """How many are free, and how many of them nobody has reserved."""
    fields = dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["HugePages_Free"].split()[0])
    return free, free - int(fields["HugePages_Rsvd"].split()[0])


def S4_huge_pages_that_others_took_are_a_crash_with_a_reason():
    """What the guest gave back is another's now: it is not stopped as "Running", and its monitor answers."""
    with huge_pages(40), Bubble("serial", ["--backing", "hugetlb"]) as vm:
        vm.wait_for("BUBBLE-READY")
        vm.ask("init")
        block = vm.ask("alloc 9")
        vm.ask(f"write {block} 1 512")
        free, available = huge_pages_in_pool()
        vm.ask(f"report {block} 9")
        wait_until(lambda: huge_pages_in_pool()[0] > free, "the page did not come back to the host")
        if huge_pages_in_pool()[1] == available:
            raise Skipped("this kernel keeps a page that was given back reserved for its guest (adjust_reservation in mm/hugetlb.c), so nobody else can take it")
        taken = mmap.mmap(-1, huge_pages_in_pool()[1] << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)  # MAP_HUGETLB: reserved by this
        vm.send(f"write {block} 2 512")
        wait_until(lambda: vm.status()["state"] == "Crashed", "the guest that cannot go on is not shown as crashed")
        taken.close()
        said = next((line for line in vm.log if "no more memory for the guest" in line), None)
        require(said, f"the reason is not in the log: {vm.log[-5:]}")
        aerate("stop", "--kill", vm.name)
        vm.end()
    return said.strip()


def wait_until(condition, message):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    require(False, message)
