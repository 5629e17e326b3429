#include "control/vm_config.hpp"

#include "control/config_json.hpp"
#include "control/runtime_directory.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

namespace aerate::control {

MachineConfig updated(MachineConfig machine, const MachineConfigUpdate& update) {
    machine.vcpu_count = update.vcpu_count.value_or(machine.vcpu_count);
    machine.mem_size = update.mem_size.value_or(machine.mem_size);
    machine.backing = update.backing.value_or(machine.backing);
    machine.track_dirty_pages = update.track_dirty_pages.value_or(machine.track_dirty_pages);
    return machine;
}

Result<VmConfig> parse_vm_config(std::string_view text) {
    const Json json = TRY(parse_json(text));
    VmConfig config;
    Fields fields(json, "");
    fields.string("name", config.name);
    const Json* machine = fields.child("machine-config");
    const Json* boot = fields.child("boot-source");
    const Json* drives = fields.child("drives");
    const Json* balloon = fields.child("balloon");
    const Json* entropy = fields.child("entropy");
    if (drives != nullptr && !drives->is_array())
        fields.error("drives", "must be a list");
    TRY(fields.finish());

    if (machine != nullptr)
        config.machine = TRY(machine_config_from(*machine));
    if (boot != nullptr)
        config.boot = TRY(boot_source_from(*boot));
    if (drives != nullptr)
        for (const Json& drive : *drives)
            config.drives.push_back(TRY(drive_from(drive)));
    if (balloon != nullptr)
        config.balloon = TRY(balloon_config_from(*balloon));
    if (entropy != nullptr) {
        TRY(entropy_from(*entropy));
        config.entropy = true;
    }
    TRY(validate(config));
    return config;
}

std::string print_vm_config(const VmConfig& config) {
    return print_json(json_of(config));
}

Result<void> validate(const VmConfig& config) {
    if (!config.name.empty())
        TRY(validate_vm_name(config.name));
    const MachineConfig& machine = config.machine;
    if (machine.vcpu_count < 1 || machine.vcpu_count > vcpu_count_max)
        return fail("machine-config.vcpu_count: must be from 1 to {}", vcpu_count_max);
    if (machine.mem_size < mem_size_min || machine.mem_size > mem_size_max)
        return fail("machine-config.mem_size_mib: must be from {} to {}", mem_size_min.value >> 20,
                    mem_size_max.value >> 20);
    if (machine.mem_size.value % (2ULL << 20) != 0)
        return fail("machine-config.mem_size_mib: must be even: RAM is laid out in steps of 2 MiB");
    if (config.balloon && config.balloon->target > machine.mem_size)
        return fail("balloon.amount_mib: {} is more than the VM's {} MiB of RAM", config.balloon->target.value >> 20,
                    machine.mem_size.value >> 20);
    if (std::ranges::count_if(config.drives, &Drive::is_root_device) > 1)
        return fail("drives: more than one has is_root_device; set it on one");
    std::set<std::string_view> ids;
    for (const Drive& drive : config.drives)
        if (!ids.insert(drive.drive_id).second)
            return fail("drives: drive_id {} is used twice", drive.drive_id);
    return {};
}

} // namespace aerate::control
