// Blocks of guest memory: 2^order frames, aligned to their size.
#pragma once

#include "memory/guest_address.hpp"

#include <compare>

namespace aerate::guestkit {

struct Order {
    unsigned value{};
    auto operator<=>(const Order&) const = default;
};

/// 4 MiB, as Linux's MAX_PAGE_ORDER on x86.
inline constexpr Order max_order{10};
inline constexpr unsigned order_count = max_order.value + 1;
/// 2 MiB: what Linux on x86 reports by default (pageblock_order), and what a huge page of the host needs.
inline constexpr Order huge_page_order{9};

[[nodiscard]] constexpr PageCount pages_of(Order order) {
    return {1ULL << order.value};
}

struct Block {
    FrameNumber first;
    Order order;
    auto operator<=>(const Block&) const = default;
};

[[nodiscard]] constexpr PageRange range_of(Block block) {
    return {block.first, pages_of(block.order)};
}

} // namespace aerate::guestkit
