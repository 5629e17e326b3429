// How long a guest is left alone after it was asked for too much. Each time it is asked again and fails again, twice as
// long; only a balloon that it bore for as long clears that.
#pragma once

#include "policy/arithmetic.hpp"

#include <optional>

namespace aerate::policy {

inline constexpr milliseconds hold_min = std::chrono::seconds(10);
inline constexpr milliseconds hold_max = std::chrono::minutes(10);

class Hold {
public:
    [[nodiscard]] bool held(milliseconds now) const { return now < until_; }
    /// Begins a hold, or prolongs the one that there is.
    void fail(milliseconds now);
    /// Holds for a short time without blame.
    void rest(milliseconds now, milliseconds time) { until_ = std::max(until_, now + time); }
    /// Notes that the guest is asked for memory.
    void ask(milliseconds now);
    /// Forgets the failures of a guest that has borne its balloon. Called at each look.
    void look(milliseconds now);
    [[nodiscard]] milliseconds until() const { return until_; }
    bool operator==(const Hold&) const = default;

private:
    milliseconds until_{};
    milliseconds length_{};
    std::optional<milliseconds> asked_{}; ///< first, after the last failure
};

} // namespace aerate::policy
