// Where something is in the guest: addresses, frames, ranges of frames.
#pragma once

#include "base/units.hpp"

#include <algorithm>
#include <compare>
#include <cstdint>
#include <optional>

namespace aerate {

/// A guest-physical address. The guest chooses these numbers, so arithmetic on them says when it wraps.
struct GuestAddress {
    std::uint64_t value{};
    auto operator<=>(const GuestAddress&) const = default;
    [[nodiscard]] constexpr std::optional<GuestAddress> plus(ByteCount distance) const {
        if (value + distance.value < value)
            return std::nullopt;
        return GuestAddress{value + distance.value};
    }
};

/// A guest-physical address divided by 4096.
struct FrameNumber {
    std::uint64_t value{};
    auto operator<=>(const FrameNumber&) const = default;
};

[[nodiscard]] constexpr GuestAddress address_of(FrameNumber frame) {
    return {frame.value << page_shift};
}
[[nodiscard]] constexpr FrameNumber frame_of(GuestAddress address) {
    return {address.value >> page_shift};
}

struct PageRange {
    FrameNumber first;
    PageCount count;
    auto operator<=>(const PageRange&) const = default;
    [[nodiscard]] constexpr FrameNumber end() const { return {first.value + count.value}; }
};

/// Returns an empty range when they have nothing in common. REQUIRES: neither wraps.
[[nodiscard]] constexpr PageRange intersection(PageRange a, PageRange b) {
    const FrameNumber first = std::max(a.first, b.first);
    const FrameNumber end = std::min(a.end(), b.end());
    return end > first ? PageRange{first, {end.value - first.value}} : PageRange{};
}

/// All that there can be.
inline constexpr PageRange every_page{{0}, {~0ULL}};

/// Returns the whole pages inside [address, address + length), rounded inwards; empty when there is none or when it
/// wraps.
[[nodiscard]] constexpr PageRange whole_pages_inside(GuestAddress address, ByteCount length) {
    const auto end = address.plus(length);
    if (!end)
        return {};
    const std::uint64_t first =
        (address.value >> page_shift) + ((address.value & (page_size.value - 1)) != 0 ? 1U : 0U);
    const std::uint64_t last = end->value >> page_shift;
    return last > first ? PageRange{{first}, {last - first}} : PageRange{};
}

} // namespace aerate
