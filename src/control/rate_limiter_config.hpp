// The "rate_limiter" of a device, in Firecracker's words.
#pragma once

#include "control/schema.hpp"
#include "protocol/rate_limiter.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace aerate::control {

struct TokenBucketConfig {
    std::uint64_t size{}; ///< bytes or operations; 0: no limit
    std::uint64_t one_time_burst{};
    std::chrono::milliseconds refill_time{}; ///< 0: no limit
    static constexpr std::string_view object = "rate_limiter";
    static void describe(auto& fields, auto& self) {
        constexpr auto longest = static_cast<std::uint64_t>(protocol::TokenBucket::refill_time_max.count());
        fields("size", self.size, mandatory);
        fields("one_time_burst", self.one_time_burst, unless_default);
        fields("refill_time", self.refill_time, mandatory_between(0, longest));
    }
    bool operator==(const TokenBucketConfig&) const = default;
};

/// Also what a PATCH changes: a bucket that is absent stays as it is.
struct RateLimiterConfig {
    std::optional<TokenBucketConfig> bandwidth{};
    std::optional<TokenBucketConfig> ops{};
    static constexpr std::string_view object = "rate_limiter";
    static void describe(auto& fields, auto& self) {
        fields("bandwidth", self.bandwidth);
        fields("ops", self.ops);
    }
    bool operator==(const RateLimiterConfig&) const = default;
};

[[nodiscard]] inline protocol::RateLimits limits_of(const std::optional<RateLimiterConfig>& config) {
    const auto limit = [](const std::optional<TokenBucketConfig>& bucket) -> std::optional<protocol::TokenBucketLimit> {
        if (!bucket)
            return std::nullopt;
        return protocol::TokenBucketLimit{bucket->size, bucket->one_time_burst, bucket->refill_time};
    };
    return config ? protocol::RateLimits{limit(config->bandwidth), limit(config->ops)} : protocol::RateLimits{};
}

/// Records a PATCH in the configuration: a limit that was lifted is none.
inline void update(std::optional<RateLimiterConfig>& config, const std::optional<RateLimiterConfig>& change) {
    if (!change)
        return;
    RateLimiterConfig changed = config.value_or(RateLimiterConfig{});
    const auto put = [](std::optional<TokenBucketConfig>& into, const std::optional<TokenBucketConfig>& from) {
        if (from)
            into = from->size == 0 || from->refill_time.count() == 0 ? std::nullopt : from;
    };
    put(changed.bandwidth, change->bandwidth);
    put(changed.ops, change->ops);
    config = changed == RateLimiterConfig{} ? std::nullopt : std::optional(changed);
}

} // namespace aerate::control
