// What a VM's operator asks of the host's memory policy: see docs/host-policy.md. The monitor keeps it and says it in
// its status; only "aerate host" acts by it.
#pragma once

#include "base/units.hpp"
#include "control/schema.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

namespace aerate::control {

inline constexpr std::uint64_t memory_shares_max = 1'000'000;
inline constexpr std::uint64_t memory_priority_max = 9;

struct MemoryPolicy {
    std::optional<ByteCount> floor{}; ///< no policy takes the guest below it; nothing: a quarter of its memory
    std::uint64_t shares = 1000;      ///< of what is short, beside other VMs: twice as many keep twice as much
    std::uint64_t priority = 5;       ///< of those that grow too fast, the lowest stand still first
    static constexpr std::string_view object = "memory-policy";
    static void describe(auto& fields, auto& self) {
        fields("memory_floor_mib", Mib{self.floor});
        fields("memory_shares", self.shares, between(1, memory_shares_max));
        fields("memory_priority", self.priority, between(0, memory_priority_max));
    }
    bool operator==(const MemoryPolicy&) const = default;
};

/// Returns what the operator has said; nothing if all of it is as it is for whoever says nothing.
[[nodiscard]] constexpr std::optional<MemoryPolicy> said(const MemoryPolicy& policy) {
    return policy == MemoryPolicy{} ? std::nullopt : std::optional(policy);
}

/// Returns the policy with its floor named, for a VM of this size. A floor that the operator gave before the size was
/// known is cut to it.
[[nodiscard]] constexpr MemoryPolicy with_floor(MemoryPolicy policy, ByteCount size) {
    policy.floor = std::min(policy.floor.value_or(ByteCount{(size.value / 4) >> 20 << 20}), size);
    return policy;
}

} // namespace aerate::control
