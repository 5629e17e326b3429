// Limits what a device does for its guest: bytes, and operations. The API's "rate_limiter", as Firecracker means it.
//
//     if (!limiter.take(frame.size(), now)) ...   // nothing was taken: try again at blocked_until()
//
// While it blocks, every take() fails, of either bucket, so that a device has one timer for both.
#pragma once

#include "protocol/token_bucket.hpp"

#include <chrono>
#include <cstdint>
#include <optional>

namespace aerate::protocol {

/// A bucket that is absent limits nothing; in a change it stays as it is. One of size 0, or that takes no time to fill,
/// limits nothing either.
struct RateLimits {
    std::optional<TokenBucketLimit> bandwidth{};
    std::optional<TokenBucketLimit> operations{};
    bool operator==(const RateLimits&) const = default;
};

/// What a snapshot keeps of a limiter. Its limits are in the configuration.
struct RateLimiterState {
    std::optional<TokenBucketLevel> bandwidth{};
    std::optional<TokenBucketLevel> operations{};
    std::uint64_t blocked_milliseconds{}; ///< from the moment of the snapshot on
    bool operator==(const RateLimiterState&) const = default;
};
template <typename Codec>
void describe(Codec& codec, auto& state)
    requires requires { state.blocked_milliseconds; }
{
    codec(state.bandwidth, state.operations, state.blocked_milliseconds);
}

class RateLimiter {
public:
    using Time = TokenBucket::Time;
    using Milliseconds = std::chrono::milliseconds;
    /// How long the limiter blocks when a bucket does not suffice (Firecracker's REFILL_TIMER_DURATION).
    static constexpr Milliseconds pause{100};

    RateLimiter(const RateLimits& limits, Time now) { change(limits, now); }

    [[nodiscard]] bool limits() const { return bandwidth_ || operations_; }

    /// Takes one operation and `bytes`, or nothing.
    [[nodiscard]] bool take(std::uint64_t bytes, Time now) {
        if (blocked_until(now))
            return false;
        if (!take(operations_, 1, now))
            return false;
        // 0 bytes are no transfer: a flush has an operation only.
        if (bytes == 0 || take(bandwidth_, bytes, now))
            return true;
        if (operations_)
            operations_->put_back(1);
        return false;
    }

    /// Undoes a take() that came to nothing.
    void put_back(std::uint64_t bytes) {
        if (operations_)
            operations_->put_back(1);
        if (bandwidth_)
            bandwidth_->put_back(bytes);
    }

    /// Nothing when it does not block.
    [[nodiscard]] std::optional<Time> blocked_until(Time now) const {
        return blocked_until_ && now < *blocked_until_ ? blocked_until_ : std::nullopt;
    }

    /// A bucket that is changed is full. One that blocks does so to the end, as Firecracker's.
    void change(const RateLimits& limits, Time now) {
        if (limits.bandwidth)
            bandwidth_ = TokenBucket::create(*limits.bandwidth, now);
        if (limits.operations)
            operations_ = TokenBucket::create(*limits.operations, now);
    }

    [[nodiscard]] RateLimiterState save(Time now) const {
        RateLimiterState state;
        if (bandwidth_)
            state.bandwidth = bandwidth_->level(now);
        if (operations_)
            state.operations = operations_->level(now);
        if (const auto until = blocked_until(now))
            state.blocked_milliseconds =
                static_cast<std::uint64_t>(std::chrono::ceil<Milliseconds>(*until - now).count());
        return state;
    }
    /// The state may be damaged or hostile. A bucket that the configuration does not have is passed over.
    void restore(const RateLimiterState& state, Time now) {
        if (bandwidth_ && state.bandwidth)
            bandwidth_->set_level(*state.bandwidth, now);
        if (operations_ && state.operations)
            operations_->set_level(*state.operations, now);
        const auto most = static_cast<std::uint64_t>(TokenBucket::pause_max.count());
        if (state.blocked_milliseconds > 0)
            blocked_until_ = now + Milliseconds(static_cast<std::int64_t>(std::min(state.blocked_milliseconds, most)));
    }

private:
    [[nodiscard]] bool take(std::optional<TokenBucket>& bucket, std::uint64_t tokens, Time now) {
        if (!bucket)
            return true;
        const auto taken = bucket->take(tokens, now);
        if (!taken.ok)
            blocked_until_ = now + pause;
        else if (taken.pause.count() > 0)
            blocked_until_ = now + taken.pause;
        return taken.ok;
    }

    std::optional<TokenBucket> bandwidth_;
    std::optional<TokenBucket> operations_;
    std::optional<Time> blocked_until_;
};

} // namespace aerate::protocol
