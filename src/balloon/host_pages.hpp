// Balloon PFNs are 4 KiB; the host may back the guest with larger pages, which go back to it whole or not at all.
#pragma once

#include "memory/page_bitmap.hpp"

#include <algorithm>
#include <span>
#include <vector>

namespace aerate::balloon {

/// Returns the host pages that `changed` touches and that are wholly in the balloon. The bitmap is all that is
/// remembered between batches, so no guest can make the host remember more. REQUIRES: `changed` ascends without
/// overlap.
[[nodiscard]] inline std::vector<PageRange> complete_host_pages(std::span<const PageRange> changed,
                                                                const PageBitmap& ballooned, PageCount host_page) {
    std::vector<PageRange> complete;
    std::uint64_t looked_up_to = 0;
    for (const PageRange& range : changed) {
        std::uint64_t first = std::max(range.first.value / host_page.value * host_page.value, looked_up_to);
        for (; first < range.end().value; first += host_page.value)
            if (const PageRange page{{first}, host_page}; ballooned.count(page) == host_page)
                complete.push_back(page);
        looked_up_to = first;
    }
    return complete;
}

} // namespace aerate::balloon
