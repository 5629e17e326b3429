// What this host's kernel knows of its own time of day, as whoever keeps it right (NTP) has told it: adjtimex(2).
#pragma once

#include <chrono>
#include <cstdint>

namespace aerate {

struct HostDiscipline {
    /// By how much the time of day passes faster than the clock source's nominal rate says, in 2^-16 millionths.
    std::int64_t faster = 0;
    bool synchronized = false;                  ///< else nobody keeps it right, or has lost contact
    std::chrono::nanoseconds estimated_error{}; ///< if synchronized
    std::chrono::nanoseconds largest_error{};

    [[nodiscard]] static HostDiscipline now();
};

} // namespace aerate
