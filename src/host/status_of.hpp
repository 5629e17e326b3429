// From a tick to what is published of it: figures, and the reason of each decision in words. Pure.
#pragma once

#include "control/host_status.hpp"
#include "host/answers.hpp"
#include "host/guest_of.hpp"
#include "host/host_memory.hpp"
#include "host/pulse.hpp"
#include "policy/law.hpp"

#include <chrono>
#include <optional>
#include <string>

namespace aerate::hostd {

/// A VM at a tick, beside what the law sees.
struct VmView {
    control::VmState state{};
    int pid = 0;
    bool answers = true;
    ByteCount taken{}; ///< so far
    ByteCount given{};
    std::optional<std::chrono::microseconds> stalled{};
    std::string cgroup{};
};

/// Returns why, with the numbers of this case.
[[nodiscard]] control::HostReason reason_of(const policy::Inputs&, const policy::State&, const policy::Guest&,
                                            const policy::VmName&, const policy::Decision&);
[[nodiscard]] control::HostVm vm_of(const policy::Inputs&, const policy::State&, const policy::VmName&,
                                    const policy::Decision&, policy::Level, const VmView&);
[[nodiscard]] Decision decision_of(const policy::Inputs&, const policy::State&, const policy::VmName&,
                                   const policy::Decision&, policy::Level, std::chrono::milliseconds clock);
/// Adds up what the VMs say for their host.
void add_up(control::HostStatus&);
/// Returns the host's part, but for what is added up of VMs.
[[nodiscard]] control::HostMemory host_of(const policy::Host&, policy::Level, const HostReading&);

} // namespace aerate::hostd
