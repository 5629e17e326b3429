#include "reclaim/memory_map.hpp"

#include "memory/page_bitmap.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <utility>

namespace aerate {
namespace {

constexpr std::string_view letters = "bhrsp."; // in the order in which they win
constexpr ByteCount cell_min{64U << 10};

/// Sets in `into` what is in both.
void intersect(PageBitmap& into, const PageBitmap& a, const PageBitmap& b) {
    for_each_run(a, [&](PageRange run) {
        for (PageRange found = b.next_run(run.first); found.count > PageCount{} && found.first < run.end();
             found = b.next_run(found.end()))
            into.set(intersection(found, run));
    });
}

} // namespace

Result<MemoryPicture> memory_map_of(const GuestMemory& memory, const MemoryMapSources& sources) {
    // What each letter stands for, less what those before it stand for; the last one is the rest.
    std::array<PageBitmap, letters.size() - 1> of;
    for (PageBitmap& pages : of)
        pages = TRY(PageBitmap::create(memory.address_space()));
    auto& [ballooned, hinted, resident, shared, reported] = of;
    memory.collect_resident(resident);
    memory.collect_touched(shared);
    if (sources.hinted != nullptr)
        intersect(hinted, *sources.hinted, resident);
    if (sources.states != nullptr) {
        ballooned.add(sources.states->ballooned);
        reported.add(sources.states->reported);
    }
    for (std::size_t letter = 1; letter < of.size(); ++letter)
        for (std::size_t before = 0; before < letter; ++before)
            of[letter].remove(of[before]);

    const ByteCount size = memory.size();
    MemoryPicture picture{
        .cell = {std::max(cell_min.value, std::bit_ceil((size.value + map_cells_max - 1) / map_cells_max))},
        .cells = {}};
    const PageCount step = whole_pages_of(picture.cell);
    // Cells are of RAM, which has a hole in the guest's addresses: a cell may have parts on both sides of it.
    std::array<std::uint64_t, letters.size()> count{};
    PageCount room = step;
    const auto end_cell = [&] {
        picture.cells += letters[static_cast<std::size_t>(std::ranges::max_element(count) - count.begin())];
        count = {};
        room = step;
    };
    for (const MappedRegion& region : memory.regions()) {
        PageRange left = frames_of(region.guest);
        while (left.count > PageCount{}) {
            const PageRange here{left.first, std::min(room, left.count)};
            std::uint64_t rest = here.count.value;
            for (std::size_t letter = 0; letter < of.size(); ++letter) {
                const std::uint64_t pages = of[letter].count(here).value;
                count[letter] += pages;
                rest -= std::min(rest, pages);
            }
            count.back() += rest;
            left = {here.end(), left.count - here.count};
            room -= here.count;
            if (room == PageCount{})
                end_cell();
        }
    }
    if (room < step)
        end_cell();
    return picture;
}

} // namespace aerate
