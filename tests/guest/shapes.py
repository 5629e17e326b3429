"""Scenarios that share guests of other shapes: with a page cache to squeeze, from a configuration file, large."""
import json
import subprocess
import time

from registry import guest, require, scenario
from vm import Vm


@guest("squeezed")
def squeezed_guest(context):
    with open(context.file("disk"), "wb") as disk:
        disk.truncate(256 << 20)
    return context.vm(memory="512M", arguments=["--drive", context.file("disk"), "--stats-interval", "1"])


@scenario("squeezed", usually="6.1")
def squeeze_pushes_the_page_cache_out(context, vm):
    """The guest's own pages stay, its cache goes to the host, it keeps its size, and nobody in it is killed."""
    vm.check("dd if=/dev/urandom of=/tmp/kept bs=1M count=40 2>/dev/null")
    kept = vm.check("md5sum </tmp/kept")
    vm.check("exec 3</dev/vda; dd of=/dev/null bs=1M <&3 2>/dev/null")  # what is cached of a disk goes when nobody has it open
    total, _, _ = vm.guest_memory()
    cached, before = int(vm.check("awk '/^Buffers|^Cached/ {sum += $2} END {print sum}' /proc/meminfo").split()[-1]) / 1024, vm.resident_mib()
    require(cached > 250, f"the guest caches {cached:.0f} MiB: this would show nothing")
    with subprocess.Popen([context.binary, "squeeze", vm.name, "--keep", "64M", "--json"], stdout=subprocess.PIPE, text=True) as command:
        refusals = 0
        while command.poll() is None:
            refusals += "a squeeze is under way" in str(vm.api("PATCH", "/balloon", {"amount_mib": 0}, expect=None))
            time.sleep(0.3)
        report = json.loads(command.stdout.read())
    after, (total_after, _, available) = vm.resident_mib(), vm.guest_memory()
    print(f"    {cached:.0f} MiB cached, resident {before:.0f} -> {after:.0f} MiB in {report['duration_us'] / 1e6:.1f} s, {report['stopped_by'] or 'to the end'}", flush=True)
    require(after < before - 170, f"resident went from {before:.0f} to {after:.0f} MiB only: {report}")
    require(total_after == total, f"the guest's size went from {total} to {total_after}")
    require(available > 250, f"the guest has {available:.0f} MiB")
    require(refusals > 0, "the balloon's target could be set meanwhile")
    require(vm.check("md5sum </tmp/kept") == kept, "a file changed")
    require("Killed process" not in vm.check("dmesg"), "a process was killed")
    vm.check("exec 3<&-; rm /tmp/kept")


@scenario("squeezed", usually="6.1")
def squeeze_stops_short_of_want(context, vm):
    """A guest whose memory is in use has little to give; asked for all of it, the balloon must not take what is needed."""
    vm.check("dd if=/dev/urandom of=/tmp/used bs=1M count=200 2>/dev/null")
    used = vm.check("md5sum </tmp/used")
    print("    " + context.cli("squeeze", vm.name, "--keep", "0").stdout.strip(), flush=True)
    require(vm.check("md5sum </tmp/used; rm /tmp/used").startswith(used.strip()), "a file changed")
    require("Killed process" not in vm.check("dmesg"), "a process was killed")
    require(vm.status()["balloon"]["actual_bytes"] == 0, f"the balloon was not let go: {vm.status()['balloon']}")


# --- A guest from a configuration file, without reporting ---------------------------------------------------------------------------------

@guest("configured")
def configured_guest(context):
    path, name = context.file("vm.json"), context.next_name()
    with open(path, "w", encoding="ascii") as file:
        json.dump({"boot-source": {"kernel_image_path": context.kernel, "initrd_path": context.initrd,
                                   "boot_args": "console=ttyS0 quiet panic=-1 mitigations=off from.file=1"},
                   "machine-config": {"vcpu_count": 1, "mem_size_mib": 256},
                   "balloon": {"amount_mib": 0, "deflate_on_oom": True, "free_page_reporting": False, "free_page_hinting": True}}, file)
    vm = Vm.__new__(Vm)
    vm.name, vm.runtime = name, context.runtime
    vm.start([context.binary, "run", "--name", name, "--config", path])
    return vm


@scenario("configured")
def run_takes_a_configuration_file(_, vm):
    require("from.file=1" in vm.check("cat /proc/cmdline"), "the command line is not the file's")
    require(vm.status()["memory"]["guest_size_bytes"] == 256 << 20, "the memory is not the file's")


@scenario("configured")
def without_reporting_the_host_keeps_it(_, vm):
    vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=120 2>/dev/null; rm /tmp/fill")
    time.sleep(5)
    resident = vm.resident_mib()
    require(resident > 120, f"resident is {resident:.0f} MiB: the test of reporting would show nothing")


@scenario("configured")
def sweep_gives_free_memory_back_at_once(context, vm):
    """Without the guest's reports. Debian's kernels clear each block that they hint (init_on_alloc)."""
    vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=120 2>/dev/null; rm /tmp/fill")
    vm.check("dd if=/dev/urandom of=/tmp/kept bs=1M count=8 2>/dev/null")
    before, kept = vm.resident_mib(), vm.check("md5sum /tmp/kept")
    print(context.cli("sweep", vm.name).stdout.strip(), flush=True)
    after = vm.resident_mib()
    require(after < before - 80, f"resident went from {before:.0f} to {after:.0f} MiB only")
    idle = after - (256 - vm.guest_memory()[1])
    require(idle < 12, f"{idle:.0f} MiB that the guest does not use are still resident: small blocks were left")
    require(vm.check("md5sum /tmp/kept; rm /tmp/kept").startswith(kept), "a file changed")
    vm.check("dd if=/dev/zero of=/tmp/fill bs=1M count=120 2>/dev/null; rm /tmp/fill")  # the guest has its pages


@scenario("configured")
def power_off_ends_the_monitor_with_status_0(_, vm):
    require(vm.power_off() == 0, "power-off did not end the monitor with status 0")


# --- A large guest: as many vCPUs as there may be under one kernel, memory above 4 GiB ----------------------------------------------------

LARGE_VCPUS = {"6.1": 32, "6.12": 4}


@guest("large")
def large_guest(context):
    return context.vm(memory="5G", vcpus=LARGE_VCPUS[context.release])


@scenario("large", usually="6.12")
def all_vcpus_come_up(context, vm):
    count = LARGE_VCPUS[context.release]
    require(vm.check("nproc").strip() == str(count), f"not {count} processors online")
    vm.check(f"for i in $(seq {count}); do echo $i | md5sum & done; wait", 120)


@scenario("large", usually="6.12")
def memory_above_4_gib_is_seen_and_returned(_, vm):
    total = vm.guest_memory()[0]
    require(total > 4700, f"the guest sees {total:.0f} MiB of 5120")
    vm.set_balloon(64)
