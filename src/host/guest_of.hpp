// From a monitor's answer to what the law looks at. Pure.
#pragma once

#include "control/memory_policy.hpp"
#include "host/answers.hpp"
#include "host/pulse.hpp"
#include "policy/inputs.hpp"

#include <chrono>

namespace aerate::hostd {

/// What counts for one VM.
struct Wishes {
    ByteCount floor{};
    std::uint64_t shares = 1000;
    std::uint64_t priority = 5;
    bool operator==(const Wishes&) const = default;
};
/// Returns, of each field, what was asked for this VM by name; else what its monitor says; else the default; else a
/// quarter of its size, and what control::MemoryPolicy begins with.
[[nodiscard]] Wishes wishes_of(const Pulse&, const PolicyChange& by_name, const PolicyChange& defaults);

/// `ago`: how long ago the monitor said so. `pausable`: it can be told to stop the guest for a time.
[[nodiscard]] policy::Guest guest_of(const Pulse&, const Wishes&, std::chrono::milliseconds ago, bool pausable);

} // namespace aerate::hostd
