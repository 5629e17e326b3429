// Firecracker's token bucket (its src/vmm/src/rate_limiter), as a value: the time is passed in.
//
// A bucket starts full. What is taken comes out of the one-time burst first, which is never refilled, then out of the
// budget, which fills at an even rate and is looked at when it does not suffice. More than the bucket can ever hold is
// given all the same, once, and then paid for: whoever took it pauses for as long as the bucket needs to make that up.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <optional>

namespace aerate::protocol {

struct TokenBucketLimit {
    std::uint64_t size{};
    std::uint64_t one_time_burst{};
    std::chrono::milliseconds refill_time{}; ///< from empty to full
    bool operator==(const TokenBucketLimit&) const = default;
};

/// How full a bucket is: what a snapshot keeps.
struct TokenBucketLevel {
    std::uint64_t budget{};
    std::uint64_t burst{};
    std::uint64_t unused_nanoseconds{}; ///< since it was filled last
    bool operator==(const TokenBucketLevel&) const = default;
};
template <typename Codec>
void describe(Codec& codec, auto& level)
    requires requires { level.unused_nanoseconds; }
{
    codec(level.budget, level.burst, level.unused_nanoseconds);
}

class TokenBucket {
public:
    using Time = std::chrono::steady_clock::time_point;
    /// 34 years: nanoseconds of it are far from the end of 64 bits.
    static constexpr std::chrono::milliseconds refill_time_max{1LL << 40};
    static constexpr std::chrono::milliseconds pause_max{1LL << 35};

    /// Nothing when the limit is none: its size or its refill time is 0.
    [[nodiscard]] static std::optional<TokenBucket> create(const TokenBucketLimit& limit, Time now) {
        if (limit.size == 0 || limit.refill_time.count() <= 0)
            return std::nullopt;
        return TokenBucket(limit, now);
    }

    struct Taken {
        bool ok = false;
        std::chrono::milliseconds pause{}; ///< before anything else is taken
    };
    /// Takes all of `tokens`, or none.
    [[nodiscard]] Taken take(std::uint64_t tokens, Time now) {
        if (burst_ >= tokens && burst_ > 0) {
            burst_ -= tokens;
            filled_ = now;
            return {.ok = true};
        }
        const std::uint64_t rest = tokens - burst_;
        if (rest > budget_)
            fill(now);
        if (rest > limit_.size) {
            burst_ = 0;
            const std::uint64_t missing = rest - budget_;
            budget_ = 0;
            return {.ok = true, .pause = time_for(missing)};
        }
        if (rest > budget_)
            return {};
        burst_ = 0;
        budget_ -= rest;
        return {.ok = true};
    }

    /// Undoes a take().
    void put_back(std::uint64_t tokens) {
        std::uint64_t& into = burst_ > 0 ? burst_ : budget_;
        const std::uint64_t most = burst_ > 0 ? limit_.one_time_burst : limit_.size;
        into = std::min(most, into + std::min(tokens, most));
    }

    [[nodiscard]] const TokenBucketLimit& limit() const { return limit_; }
    [[nodiscard]] TokenBucketLevel level(Time now) const {
        return {budget_, burst_, static_cast<std::uint64_t>(std::max(now - filled_, Nanoseconds{}).count())};
    }
    /// The level may come from a file that is damaged or hostile: no bucket is fuller than full.
    void set_level(const TokenBucketLevel& level, Time now) {
        budget_ = std::min(level.budget, limit_.size);
        burst_ = std::min(level.burst, limit_.one_time_burst);
        const auto unused = std::min<std::uint64_t>(level.unused_nanoseconds, refill_nanoseconds());
        filled_ = now - Nanoseconds(static_cast<std::int64_t>(unused));
    }

private:
    using Nanoseconds = std::chrono::nanoseconds;
    __extension__ using Wide = unsigned __int128;

    TokenBucket(const TokenBucketLimit& limit, Time now)
        : limit_{limit.size, limit.one_time_burst, std::min(limit.refill_time, refill_time_max)}
        , budget_(limit.size)
        , burst_(limit.one_time_burst)
        , filled_(now) {}

    [[nodiscard]] std::uint64_t refill_nanoseconds() const {
        return static_cast<std::uint64_t>(Nanoseconds(limit_.refill_time).count());
    }

    /// Whole tokens only: the time of the part of a token that is left over counts the next time.
    void fill(Time now) {
        const auto elapsed = static_cast<std::uint64_t>(std::max(now - filled_, Nanoseconds{}).count());
        const std::uint64_t whole = refill_nanoseconds();
        if (elapsed >= whole) {
            budget_ = limit_.size;
            filled_ = now;
            return;
        }
        const auto tokens = static_cast<std::uint64_t>(Wide{elapsed} * limit_.size / whole);
        // Rounded up: no nanosecond makes two tokens.
        const auto used = static_cast<std::int64_t>((Wide{tokens} * whole + limit_.size - 1) / limit_.size);
        filled_ += Nanoseconds(used);
        budget_ = tokens > limit_.size - budget_ ? limit_.size : budget_ + tokens;
    }

    [[nodiscard]] std::chrono::milliseconds time_for(std::uint64_t tokens) const {
        const auto refill = static_cast<std::uint64_t>(limit_.refill_time.count());
        const Wide pause = Wide{tokens} * refill / limit_.size;
        return pause > static_cast<std::uint64_t>(pause_max.count())
                   ? pause_max
                   : std::chrono::milliseconds(static_cast<std::int64_t>(pause));
    }

    TokenBucketLimit limit_;
    std::uint64_t budget_;
    std::uint64_t burst_;
    Time filled_; ///< up to when the budget has been filled
};

} // namespace aerate::protocol
