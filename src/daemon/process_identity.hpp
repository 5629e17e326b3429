// Which process a process ID means: the number may be another's later, but not with the same start.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <optional>

namespace aerate {

struct ProcessIdentity {
    pid_t pid;
    std::uint64_t started; ///< clock ticks since the host's boot

    /// Returns nothing if there is no such process, or none in our process namespace.
    [[nodiscard]] static std::optional<ProcessIdentity> of(pid_t);
    auto operator<=>(const ProcessIdentity&) const = default;
};

} // namespace aerate
