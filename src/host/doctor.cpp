#include "host/doctor.hpp"

#include "host/mib.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace aerate::hostd {
namespace {

using namespace std::chrono_literals;

std::optional<ByteCount> word(const control::VmStatus& status, const char* name) {
    const auto& words = status.balloon->statistics;
    const auto found = words.find(name);
    return found == words.end() ? std::nullopt : std::optional(ByteCount{found->second});
}

ByteCount excess(ByteCount amount, ByteCount limit) {
    return amount > limit ? amount - limit : ByteCount{};
}

/// How the guest was configured.
void examine_devices(const VmFacts& vm, std::vector<Finding>& findings) {
    if (vm.backing == Backing::hugetlb)
        findings.push_back({"its RAM is hugetlb pages, which a balloon of 4 KiB pages frees only where it takes whole "
                            "2 MiB, and which the host cannot use for anything else",
                            "start it without --backing hugetlb"});
    if (vm.balloon && !vm.balloon->free_page_reporting)
        findings.push_back(
            {"its guest does not report what it frees: free page reporting is off",
             "start it with --reporting (\"free_page_reporting\": true), or run aerate sweep now and then"});
    if (vm.balloon && !vm.balloon->deflate_on_oom)
        findings.push_back({"its guest cannot take memory back from the balloon when it runs out",
                            "start it with --deflate-on-oom (\"deflate_on_oom\": true)"});
    if (vm.balloon && vm.balloon->stats_polling_interval == 0s)
        findings.push_back({"its guest is not asked for statistics, so nothing is taken from it",
                            "aerate balloon NAME --stats-interval 1, or \"stats_polling_interval_s\": 1"});
}

/// What its guest does with the memory, by its own word.
void examine_use(const control::VmStatus& status, std::vector<Finding>& findings) {
    constexpr ByteCount much{64ULL << 20};
    const auto free = word(status, "free_memory");
    if (!free || !status.balloon->statistics_age || *status.balloon->statistics_age > 30s) {
        findings.push_back(
            {"its guest says nothing of its memory, or has not for a while",
             "look whether the guest hangs (aerate console), and whether virtio_balloon is loaded in it"});
        return;
    }
    const auto caches = word(status, "disk_caches").value_or(ByteCount{});
    if (caches >= much)
        findings.push_back({fmt::format("{} MiB of it are the guest's page cache", mib_of(caches)),
                            "aerate squeeze NAME pushes it out; aerate host takes it when the host is short"});
    const ByteCount used = excess(status.memory.guest_size, *free + status.balloon->actual);
    const ByteCount idle = excess(status.memory.resident, used);
    if (idle >= much)
        findings.push_back(
            {fmt::format("{} MiB are free in the guest and resident here: free blocks that are too small "
                         "to be reported, or were never",
                         mib_of(idle)),
             "aerate sweep NAME gives them back"});
}

} // namespace

std::vector<Finding> examine(const HostFacts& host) {
    std::vector<Finding> findings;
    if (!host.daemon)
        findings.push_back({"nobody looks after the VMs' balloons", "start \"aerate host\" (aerate-host.service)"});
    if (!host.reading.pressure)
        findings.push_back(
            {"the kernel has no pressure stall information (PSI): a shortage is seen by what is available "
             "alone",
             "boot with psi=1, and a kernel that has CONFIG_PSI"});
    else if (!host.trigger)
        findings.push_back({"no pressure trigger can be armed: a shortage is noticed up to a second late",
                            "let the daemon write /proc/pressure/memory"});
    else if (*host.trigger > 500ms)
        findings.push_back({fmt::format("the pressure trigger has a window of {} ms", host.trigger->count()),
                            "give it CAP_SYS_RESOURCE for one of 500 ms"});
    if (host.reading.memory.swap_total == ByteCount{})
        findings.push_back(
            {"the host has no swap: what balloons cannot take in time ends in its OOM killer", "add some, or zram"});
    if (host.reading.memory.huge_pages > ByteCount{host.reading.memory.total.value / 4})
        findings.push_back({fmt::format("{} MiB are set aside for huge pages, which nothing else can use",
                                        mib_of(host.reading.memory.huge_pages)),
                            "lower vm.nr_hugepages"});
    if (!host.unified_cgroups)
        findings.push_back({"the host has cgroups of version 1: VMs have no floor in its own reclaim, and no brake",
                            "boot with systemd.unified_cgroup_hierarchy=1"});
    return findings;
}

std::vector<Finding> examine(const VmFacts& vm) {
    std::vector<Finding> findings;
    const control::VmStatus& status = vm.status;
    if (!status.balloon) {
        findings.push_back({"it has no balloon: nothing that its guest frees comes back",
                            "start it with a balloon (aerate run has one; over the API, PUT /balloon)"});
        return findings;
    }
    examine_devices(vm, findings);
    if (!status.balloon->driver) {
        findings.push_back({"its guest has no balloon driver at work: nothing that it frees comes back",
                            "load virtio_balloon in the guest (CONFIG_VIRTIO_BALLOON)"});
        return findings;
    }
    examine_use(status, findings);
    return findings;
}

} // namespace aerate::hostd
