// What keeps a host, or a VM, from giving memory back: from facts to findings, each with what to do. Pure.
#pragma once

#include "control/machine_config.hpp"
#include "control/status.hpp"
#include "control/vm_config.hpp"
#include "host/host_memory.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace aerate::hostd {

struct Finding {
    std::string what{};
    std::string remedy{};
    bool operator==(const Finding&) const = default;
};

struct HostFacts {
    HostReading reading{};
    std::optional<std::chrono::milliseconds> trigger{}; ///< the window of a pressure trigger; nothing: none can be had
    bool unified_cgroups = true;
    bool daemon = true; ///< somebody looks after the VMs
    bool operator==(const HostFacts&) const = default;
};
[[nodiscard]] std::vector<Finding> examine(const HostFacts&);

struct VmFacts {
    control::VmStatus status{};
    std::optional<Backing> backing{};                ///< nothing: the monitor does not know, or is another's
    std::optional<control::BalloonConfig> balloon{}; ///< nothing: likewise
};
/// Returns why the VM's memory is resident, or stays so.
[[nodiscard]] std::vector<Finding> examine(const VmFacts&);

} // namespace aerate::hostd
