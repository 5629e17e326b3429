#include "migration/memory_root.hpp"

#include "base/check.hpp"
#include "migration/wire/bytes.hpp"
#include "migration/wire/frame.hpp"

#include <algorithm>

namespace aerate::migration {
namespace {

constexpr PageCount block{4096};

} // namespace

Result<std::optional<std::uint64_t>> memory_root(GuestMemory& memory, const PageBitmap& unneeded,
                                                 const std::function<bool()>& go_on) {
    PageBitmap needed = TRY(PageBitmap::create(memory.address_space()));
    memory.collect_populated(needed);
    needed.remove(unneeded);
    std::vector<std::byte> blocks;
    std::vector<std::byte> pages;
    const auto next = [&needed](FrameNumber from) { return needed.next_run(from, PageCount{1}); };
    PageRange page = next({0});
    for (const MappedRegion& region : memory.regions()) {
        const PageRange all{frame_of(region.guest.start), whole_pages_of(region.guest.length)};
        for (FrameNumber first = all.first; first < all.end(); first.value += block.value) {
            if (!go_on())
                return std::nullopt;
            pages.clear();
            const std::uint64_t end = std::min(first.value + block.value, all.end().value);
            for (; page.count > PageCount{} && page.first.value < end; page = next(page.end())) {
                if (memory.is_zero(page.first))
                    continue;
                const auto content = memory.span(address_of(page.first), page_size);
                CHECK(content);
                append(pages, page.first.value);
                append(pages, checksum(*content));
            }
            append(blocks, checksum(pages));
        }
    }
    return checksum(blocks);
}

} // namespace aerate::migration
