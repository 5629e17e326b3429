#include "memory/page_bitmap.hpp"
#include "reclaim/memory_map.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace aerate {
namespace {

using namespace literals;

constexpr GuestAddress high{1ULL << 32};

TEST(MemoryMap, EachCellHasTheLetterOfMostOfIt) {
    // RAM on both sides of a hole, as every guest of more than 3 GiB has it.
    auto memory = GuestMemory::create({.regions = {{{0}, 32_MiB}, {high, 32_MiB}}, .backing = Backing::memfd});
    ASSERT_TRUE(memory) << memory.error().message;
    balloon::PageStates states{.ballooned = PageBitmap(memory->address_space()),
                               .reported = PageBitmap(memory->address_space())};
    PageBitmap hinted(memory->address_space());
    const auto cell = [&](std::uint64_t index) {
        return PageRange{{(index < 512 ? 0 : frame_of(high).value - 8192) + index * 16}, {16}};
    };
    const auto touch = [&](std::uint64_t index, std::uint64_t pages) {
        ASSERT_TRUE(memory->fill(address_of(cell(index).first), bytes_of({pages}), std::byte{1}));
    };
    touch(0, 16);
    touch(1, 7);                   // less than half
    states.ballooned.set(cell(2)); // and absent
    states.reported.set(cell(3));
    states.reported.set(cell(4)); // taken back by being touched
    touch(4, 9);
    touch(512, 16);
    hinted.set(cell(512));
    hinted.set(cell(513)); // and absent
    const auto picture = memory_map_of(*memory, {.states = &states, .hinted = &hinted});
    ASSERT_TRUE(picture) << picture.error().message;
    EXPECT_EQ(picture->cell, 64_KiB);
    ASSERT_EQ(picture->cells.size(), map_cells_max);
    EXPECT_EQ(picture->cells.substr(0, 6), "r.bpr.");
    EXPECT_EQ(picture->cells.substr(512, 3), "h..");
    EXPECT_EQ(std::ranges::count(picture->cells, '.'), 1024 - 5);
}

TEST(MemoryMap, IsNeverLonger) {
    for (const ByteCount size : {2_MiB, 6_MiB, 66_MiB, 3_GiB, 100_GiB}) {
        auto memory = GuestMemory::create({.regions = {{{0}, size}}, .backing = Backing::anonymous});
        ASSERT_TRUE(memory) << memory.error().message;
        const auto picture = memory_map_of(*memory, {});
        ASSERT_TRUE(picture) << picture.error().message;
        EXPECT_LE(picture->cells.size(), map_cells_max);
        EXPECT_GE(picture->cells.size() * picture->cell.value, size.value);
        EXPECT_LT((picture->cells.size() - 1) * picture->cell.value, size.value);
    }
}

} // namespace
} // namespace aerate
