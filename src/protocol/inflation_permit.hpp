// Who stands by a balloon's target. An operator's target needs nobody: it is there until the operator says otherwise. A
// target of the host's policy is good only while somebody watches the host and the guest: it comes with a permit, which
// is renewed with each of them. When the permit lapses whoever gave it has died, or has lost sight of this guest: the
// balloon keeps what it has, and takes no more.
//
// Pure: it knows no clock.
#pragma once

#include "base/units.hpp"

#include <algorithm>
#include <chrono>
#include <optional>

namespace aerate::protocol {

class InflationPermit {
public:
    using Time = std::chrono::steady_clock::time_point;

    /// Gives it, or renews it, whatever is left of the last one.
    void give(Time now, std::chrono::milliseconds time) { until_ = now + time; }
    /// Ends it without a consequence: the operator has set a target.
    void end() { until_.reset(); }
    /// Ends it if its time is over, and returns whether that has happened: once for each lapse.
    [[nodiscard]] bool lapse(Time now) {
        const bool over = until_ && now >= *until_;
        if (over)
            until_.reset();
        return over;
    }
    /// Returns how long it is still good for; nothing: there is none.
    [[nodiscard]] std::optional<std::chrono::milliseconds> left(Time now) const {
        if (!until_)
            return std::nullopt;
        return std::max(std::chrono::ceil<std::chrono::milliseconds>(*until_ - now), std::chrono::milliseconds{});
    }

private:
    std::optional<Time> until_;
};

/// Returns the target when a permit has lapsed: nothing more is taken, and nothing is given back.
[[nodiscard]] constexpr PageCount target_after_lapse(PageCount target, PageCount actual) {
    return std::min(target, actual);
}

} // namespace aerate::protocol
