#include "host/configuration.hpp"

#include "control/host_history.hpp"
#include "control/runtime_directory.hpp"
#include "control/schema_json.hpp"

#include <algorithm>
#include <set>

namespace aerate::hostd {
namespace {

Result<void> check_floor(std::string_view where, const std::optional<ByteCount>& floor, ByteCount host) {
    if (floor && *floor > host)
        return fail("{}: is {} MiB, and the host has {} MiB: no VM can be promised more than there is", where,
                    floor->value >> 20, host.value >> 20);
    return {};
}

Result<void> check_reserve(const Configuration& configuration, ByteCount host) {
    if (configuration.reserve && configuration.reserve_bytes)
        return fail("reserve_bytes: reserve_mib says it already; leave one of them out");
    const auto reserve = configuration.reserve_bytes ? configuration.reserve_bytes : configuration.reserve;
    if (reserve && *reserve >= host)
        return fail("{}: is {} MiB, and the host has {} MiB: it would leave nothing for VMs",
                    configuration.reserve_bytes ? "reserve_bytes" : "reserve_mib", reserve->value >> 20,
                    host.value >> 20);
    return {};
}

Result<void> check_vms(const std::vector<VmEntry>& vms, ByteCount host) {
    if (vms.size() > control::host_tick_guests_max)
        return fail("vms: are {}, more than {}", vms.size(), control::host_tick_guests_max);
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < vms.size(); ++i) {
        const std::string where = fmt::format("vms[{}]", i);
        if (const auto valid = control::validate_vm_name(vms[i].name); !valid)
            return fail("{}.{}", where, valid.error().message);
        if (!names.insert(vms[i].name).second)
            return fail("{}.name: {} has an entry already; join the two", where, vms[i].name);
        TRY(check_floor(where + ".memory_floor_mib", vms[i].policy.floor, host));
    }
    return {};
}

} // namespace

PolicyChange Configuration::of(std::string_view name) const {
    const auto entry = std::ranges::find(vms, name, &VmEntry::name);
    return entry == vms.end() ? PolicyChange{} : entry->policy;
}

Result<Configuration> read_configuration(std::string_view json, ByteCount host) {
    if (json.size() > configuration_length_max)
        return fail("it has {} bytes, more than {}", json.size(), configuration_length_max);
    auto configuration = TRY(control::read_object<Configuration>(TRY(control::parse_json(json))));
    TRY(check_reserve(configuration, host));
    TRY(check_floor("defaults.memory_floor_mib", configuration.defaults.floor, host));
    TRY(check_vms(configuration.vms, host));
    if (!configuration.cgroup_parent.empty() && !configuration.cgroup_parent.starts_with("/sys/fs/cgroup/"))
        return fail("cgroup_parent: must be a directory below /sys/fs/cgroup/, as /sys/fs/cgroup/aerate.slice");
    if (configuration.reserve_bytes)
        configuration.reserve = configuration.reserve_bytes;
    return configuration;
}

} // namespace aerate::hostd
