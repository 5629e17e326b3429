// Feature bits common to every device (virtio 1.2, 6).
#pragma once

#include <cstdint>

namespace aerate::virtio {

struct FeatureSet {
    std::uint64_t bits{};
    bool operator==(const FeatureSet&) const = default;
    [[nodiscard]] constexpr bool has(unsigned bit) const { return ((bits >> bit) & 1U) != 0; }
    [[nodiscard]] constexpr FeatureSet with(unsigned bit, bool on = true) const {
        return on ? FeatureSet{bits | (1ULL << bit)} : FeatureSet{bits & ~(1ULL << bit)};
    }
    [[nodiscard]] constexpr bool within(FeatureSet other) const { return (bits & ~other.bits) == 0; }
};

namespace feature {
inline constexpr unsigned indirect_descriptors = 28;
inline constexpr unsigned event_index = 29;
inline constexpr unsigned version_1 = 32;
inline constexpr unsigned access_platform = 33;
inline constexpr unsigned ring_packed = 34;
inline constexpr unsigned in_order = 35;
} // namespace feature

} // namespace aerate::virtio
