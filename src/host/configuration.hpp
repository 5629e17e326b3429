// The configuration of "aerate host": what is kept for the host, and what counts for its VMs.
//
//     {"reserve_mib": 2048, "dry_run": false, "cgroup_parent": "/sys/fs/cgroup/aerate.slice/host",
//      "defaults": {"memory_floor_mib": 256}, "vms": [{"name": "db", "memory_floor_mib": 4096, "memory_shares": 4000}]}
#pragma once

#include "base/error.hpp"
#include "control/schema.hpp"
#include "host/answers.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::hostd {

struct VmEntry {
    std::string name{};
    PolicyChange policy{};
    static constexpr std::string_view object = "vms";
    static void describe(auto& fields, auto& self) {
        fields("name", self.name, control::mandatory);
        PolicyChange::describe(fields, self.policy);
    }
    bool operator==(const VmEntry&) const = default;
};

struct Configuration {
    std::optional<ByteCount> reserve{};       ///< nothing: policy::default_reserve()
    std::optional<ByteCount> reserve_bytes{}; ///< the same in bytes: one of them at most
    bool dry_run = false;
    std::string cgroup_parent{}; ///< empty: the daemon's own, if it was delegated
    PolicyChange defaults{};     ///< for VMs whose monitors say nothing
    std::vector<VmEntry> vms{};
    static void describe(auto& fields, auto& self) {
        fields("reserve_mib", control::Mib{self.reserve});
        fields("reserve_bytes", self.reserve_bytes);
        fields("dry_run", self.dry_run);
        fields("cgroup_parent", self.cgroup_parent);
        fields("defaults", self.defaults);
        fields("vms", self.vms);
    }
    bool operator==(const Configuration&) const = default;

    /// Returns what was asked for a VM by name: nothing in it, if nothing was.
    [[nodiscard]] PolicyChange of(std::string_view name) const;
};

inline constexpr std::size_t configuration_length_max = 1U << 20;

/// Fails if the text is no configuration, or cannot be meant on a host with so much memory: with where, and what to do.
[[nodiscard]] Result<Configuration> read_configuration(std::string_view json, ByteCount host);

} // namespace aerate::hostd
