// A device's rate limiter, and the timer that tells when it may be asked again.
//
//     if (!throttle_.take(bytes)) {            // nothing was taken
//         queue.give_back(chain.id);           // waits(queue) is throttle_.waits(): see Device
//         return false;
//     }
//
// Lives on the device's loop.
#pragma once

#include "base/check.hpp"
#include "event/event_loop.hpp"
#include "protocol/rate_limiter.hpp"

#include <chrono>
#include <cstdint>
#include <utility>

namespace aerate::virtio {

class Throttle {
public:
    using Clock = std::chrono::steady_clock;

    /// Calls `again` when a take() that failed may be tried again.
    Throttle(EventLoop& loop, const protocol::RateLimits& limits, EventLoop::Callback again)
        : loop_(loop)
        , limiter_(limits, Clock::now())
        , again_(std::move(again)) {}

    /// Takes one operation and `bytes`, or nothing. What is not limited does not cost a look at the clock.
    [[nodiscard]] bool take(std::uint64_t bytes) {
        if (!limiter_.limits() && !blocked_)
            return true;
        const auto now = Clock::now();
        const bool taken = limiter_.take(bytes, now);
        const auto until = limiter_.blocked_until(now);
        blocked_ = until.has_value();
        if (!taken) {
            ++throttled_;
            timer_ = loop_.after(std::chrono::ceil<std::chrono::milliseconds>(*until - now), [this] {
                timer_.cancel();
                again_();
            });
        }
        return taken;
    }
    /// Undoes a take() that came to nothing.
    void put_back(std::uint64_t bytes) { limiter_.put_back(bytes); }
    [[nodiscard]] bool waits() const { return timer_.active(); }
    [[nodiscard]] std::uint64_t throttled() const { return throttled_; }

    /// While the device runs: see protocol::RateLimits.
    void change(const protocol::RateLimits& limits) {
        CHECK(loop_.owned_here());
        limiter_.change(limits, Clock::now());
    }

    [[nodiscard]] protocol::RateLimiterState save() const { return limiter_.save(Clock::now()); }
    void restore(const protocol::RateLimiterState& state) {
        limiter_.restore(state, Clock::now());
        blocked_ = true;
    }

private:
    EventLoop& loop_;
    protocol::RateLimiter limiter_;
    EventLoop::Callback again_;
    Subscription timer_;
    bool blocked_ = false; ///< when it was last asked
    std::uint64_t throttled_ = 0;
};

} // namespace aerate::virtio
