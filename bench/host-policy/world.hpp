// A host with its guests, by the tenth of a second, under a policy.
#pragma once

#include "guest.hpp"

#include <string>
#include <vector>

namespace aerate::sim {

struct World {
    double total = 0; ///< MiB
    double now = 0;
    double pressure_some = 0; ///< part of the time
    double pressure_full = 0;
    std::vector<Guest> guests{};
};

/// Sets the targets of the guests' balloons.
class Policy {
public:
    Policy() = default;
    Policy(const Policy&) = delete;
    Policy& operator=(const Policy&) = delete;
    virtual ~Policy() = default;
    /// Seconds to the next look, and between statistics.
    [[nodiscard]] virtual double period() const = 0;
    [[nodiscard]] virtual double statistics_period() const { return 1; }
    virtual void look(World&, double available) = 0;
};

struct Outcome {
    double resident_peak = 0; ///< MiB, likewise below
    double resident_mean = 0;
    double read_again = 0;
    double moved = 0;
    double stalled = 0; ///< seconds, of all guests, likewise below
    double host_stalled = 0;
    double paused = 0;
    double longest_pause = 0;
    double wait_p99 = 0;     ///< seconds, for memory, of guests that do not lie
    unsigned guest_ooms = 0; ///< while the guest's balloon had memory
    unsigned host_ooms = 0;
    double reversals = 0; ///< of a guest and hour
    /// Nothing was swapped, killed or made to stand still.
    [[nodiscard]] bool undisturbed() const {
        return host_ooms == 0 && guest_ooms == 0 && host_stalled < 1 && paused < 1;
    }
};

/// Runs the guests for `seconds` on a host of `total` MiB.
[[nodiscard]] Outcome run(Policy&, std::vector<Guest>, double total, double seconds);

} // namespace aerate::sim
