// How long a peer has been getting nowhere. What it sends counts at the slowest rate that is still taken for work, so
// one that dribbles falls behind as one does that only says that it is there. No clock of its own.
//
//     progress.advance(received, now);        // all that was ever of use
//     if (progress.idle(now) > limit) ...
#pragma once

#include "base/units.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>

namespace aerate::migration {

/// One thread advances it, any may ask.
class ProgressClock {
public:
    using Clock = std::chrono::steady_clock;
    static constexpr ByteCount slowest{16U << 10}; ///< a second

    explicit ProgressClock(Clock::time_point now)
        : reached_(now.time_since_epoch().count()) {}

    /// `total`: bytes of use since the beginning.
    void advance(ByteCount total, Clock::time_point now) {
        const auto worth = std::chrono::duration_cast<Clock::duration>(
            std::chrono::duration<double>(static_cast<double>((total - counted_).value) / slowest.value));
        counted_ = total;
        store(std::max(reached(), std::min(now, reached() + worth))); // what was granted stays
    }
    /// Forgives what the peer does that cannot be seen from here, and takes this long.
    void grant(Clock::duration more, Clock::time_point now) { store(now + more); }
    [[nodiscard]] Clock::duration idle(Clock::time_point now) const {
        return std::max(now - reached(), Clock::duration::zero());
    }

private:
    [[nodiscard]] Clock::time_point reached() const {
        return Clock::time_point(Clock::duration(reached_.load(std::memory_order_relaxed)));
    }
    void store(Clock::time_point at) { reached_.store(at.time_since_epoch().count(), std::memory_order_relaxed); }

    std::atomic<Clock::rep> reached_; ///< when it was last where it should be
    ByteCount counted_;
};

} // namespace aerate::migration
