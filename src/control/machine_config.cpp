#include "control/machine_config.hpp"

namespace aerate::control {

Result<void> MachineConfig::check(const MachineConfig& machine) {
    if (machine.vcpu_count < 1 || machine.vcpu_count > vcpu_count_max)
        return fail("machine-config.vcpu_count: must be from 1 to {}", vcpu_count_max);
    if (machine.smt && machine.vcpu_count > 1 && machine.vcpu_count % 2 != 0)
        return fail("machine-config.vcpu_count: must be 1 or even with smt, since each core has two threads");
    if (machine.mem_size < mem_size_min || machine.mem_size > mem_size_max)
        return fail("machine-config.mem_size_mib: must be from {} to {}", mem_size_min.value >> 20,
                    mem_size_max.value >> 20);
    if (machine.mem_size.value % (2ULL << 20) != 0)
        return fail("machine-config.mem_size_mib: must be even: RAM is laid out in steps of 2 MiB");
    return {};
}

/// "2M" is hugetlb. "None" and "Transparent" leave the choice to "backing": RAM that is not hugetlb has transparent
/// huge pages wherever the host grants them.
Result<void> MachineConfigUpdate::check(MachineConfigUpdate& update) {
    if (!update.vcpu_count && !update.mem_size && !update.smt && !update.backing && !update.track_dirty_pages &&
        !update.huge_pages && !update.cpu_template)
        return fail("machine-config: names nothing that would change");
    if (update.mem_size && update.mem_size->value % (2ULL << 20) != 0)
        return fail("machine-config.mem_size_mib: must be even: RAM is laid out in steps of 2 MiB");
    if (update.cpu_template == CpuTemplateName::other)
        return fail("machine-config.cpu_template: static templates are not supported: give the bits that they change "
                    "by PUT /cpu-config, and leave this out");
    if (!update.huge_pages)
        return {};
    const bool huge = *update.huge_pages == HugePages::hugetlb;
    if (update.backing && huge != (*update.backing == Backing::hugetlb))
        return fail("machine-config.huge_pages: contradicts \"backing\"; leave one of them out");
    if (!update.backing)
        update.backing = huge ? Backing::hugetlb : Backing::anonymous;
    return {};
}

MachineConfig updated(MachineConfig machine, const MachineConfigUpdate& update) {
    machine.vcpu_count = update.vcpu_count.value_or(machine.vcpu_count);
    machine.mem_size = update.mem_size.value_or(machine.mem_size);
    machine.smt = update.smt.value_or(machine.smt);
    machine.backing = update.backing.value_or(machine.backing);
    machine.track_dirty_pages = update.track_dirty_pages.value_or(machine.track_dirty_pages);
    machine.plain_cpu = update.cpu_template.has_value();
    return machine;
}

Result<MachineConfig> MachineConfig::from(const WholeMachineConfig& whole) {
    return updated(MachineConfig{}, whole);
}

WholeMachineConfig MachineConfig::wire() const {
    return {{.vcpu_count = vcpu_count,
             .mem_size = mem_size,
             .smt = smt,
             .backing = backing,
             .track_dirty_pages = track_dirty_pages,
             .huge_pages = backing == Backing::hugetlb ? HugePages::hugetlb : HugePages::none}};
}

} // namespace aerate::control
