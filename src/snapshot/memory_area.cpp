#include "snapshot/memory_area.hpp"

#include "base/check.hpp"

#include <algorithm>

namespace aerate::snapshot {

bool same_regions(const std::vector<MemoryRegion>& a, const std::vector<MemoryRegion>& b) {
    return std::ranges::equal(a, b, [](const MemoryRegion& one, const MemoryRegion& other) {
        return one.start == other.start && one.length == other.length;
    });
}

ByteCount MemoryArea::length() const {
    ByteCount total{};
    for (const MemoryRegion& region : regions_)
        total += region.length;
    return total;
}

std::optional<std::uint64_t> MemoryArea::find(FrameNumber frame) const {
    std::uint64_t before = 0;
    for (const MemoryRegion& region : regions_) {
        const std::uint64_t pages = whole_pages_of(region.length).value;
        const std::uint64_t first = frame_of(region.start).value;
        if (frame.value >= first && frame.value - first < pages)
            return before + (frame.value - first);
        before += pages;
    }
    return std::nullopt;
}

std::optional<std::uint64_t> MemoryArea::find(PageRange range) const {
    if (range.count.value == 0 || range.end() <= range.first)
        return std::nullopt;
    // A hole of RAM has no pages in the area, so the two are as far apart there as here only when none is between.
    const auto first = find(range.first);
    const auto last = find(FrameNumber{range.end().value - 1});
    if (!first || !last || *last - *first != range.count.value - 1)
        return std::nullopt;
    return first;
}

FrameNumber MemoryArea::frame_of_page(std::uint64_t page) const {
    for (const MemoryRegion& region : regions_) {
        const std::uint64_t pages = whole_pages_of(region.length).value;
        if (page < pages)
            return {frame_of(region.start).value + page};
        page -= pages;
    }
    CHECK(false);
}

} // namespace aerate::snapshot
