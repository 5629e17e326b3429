#include "guestkit/free_page_iterator.hpp"

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <random>
#include <set>
#include <vector>

namespace aerate::guestkit {
namespace {

struct Guest {
    explicit Guest(PageCount pages, Watermarks watermarks = {})
        : records(pages.value)
        , zone({{1024}, pages}, records, watermarks) {
        zone.add({{1024}, pages});
    }
    std::vector<FrameRecord> records;
    Zone zone;
    BuddyAllocator allocator{{&zone, 1}};
};

TEST(FreePageIterator, VisitsEachBlockOnceWithFewInHand) {
    Guest guest({64U << 10});
    FreePageIterator iterator(guest.allocator, {9});
    std::set<FrameNumber> visited;
    std::array<Block, 32> blocks;
    while (const std::size_t count = iterator.isolate(blocks)) {
        EXPECT_GE(guest.allocator.free_pages(), PageCount{32U << 10});
        for (const Block& block : std::span(blocks).first(count)) {
            EXPECT_TRUE(visited.insert(block.first).second);
            guest.allocator.put_back(block.first, Mark::as_it_was);
        }
    }
    EXPECT_TRUE(iterator.finished());
    EXPECT_EQ(visited.size(), 64U);
    iterator.restart();
    EXPECT_EQ(iterator.isolate(blocks), 32U);
}

TEST(FreePageIterator, KeepsTheMarkOfReportedBlocks) {
    Guest guest({4096});
    std::array<Block, 32> blocks;
    const std::size_t reported = guest.allocator.isolate_unreported({9}, blocks);
    for (const Block& block : std::span(blocks).first(reported))
        guest.allocator.put_back(block.first, Mark::reported);
    FreePageIterator iterator(guest.allocator, {9});
    ASSERT_EQ(iterator.isolate(blocks), 4U);
    EXPECT_EQ(guest.allocator.reported_pages(), PageCount{0});
    for (const Block& block : std::span(blocks).first(4))
        guest.allocator.put_back(block.first, Mark::as_it_was);
    EXPECT_EQ(guest.allocator.reported_pages(), PageCount{4096});
}

TEST(FreePageIterator, WaitsAtTheWatermark) {
    Guest guest({4096}, {.min = {2048}, .low = {2048}});
    FreePageIterator iterator(guest.allocator, {9});
    std::array<Block, 32> blocks;
    ASSERT_EQ(iterator.isolate(blocks), 2U);
    EXPECT_FALSE(iterator.finished());
    EXPECT_EQ(iterator.isolate(std::span(blocks).subspan(2)), 0U);
    guest.allocator.put_back(blocks[0].first, Mark::as_it_was);
    EXPECT_EQ(iterator.isolate(std::span(blocks).subspan(2)), 1U);
    EXPECT_EQ(blocks[2].first, FrameNumber{1024 + 2048}) << "goes on where it was";
}

TEST(FreePageIterator, NoAddressTwiceWhateverIsAllocatedMeanwhile) {
    for (unsigned seed = 1; seed <= 20; ++seed) {
        std::mt19937 random(seed);
        Guest guest({32U << 10}, {.min = {512}, .low = {512}});
        FreePageIterator iterator(guest.allocator, {5});
        std::vector<bool> visited(1024 + (32U << 10));
        std::deque<FrameNumber> allocated;
        std::deque<FrameNumber> in_hand;
        while (!iterator.finished()) {
            std::array<Block, 8> blocks;
            const std::size_t count = iterator.isolate(blocks);
            for (const Block& block : std::span(blocks).first(count)) {
                in_hand.push_back(block.first);
                for (FrameNumber frame = block.first; frame < range_of(block).end(); ++frame.value) {
                    ASSERT_FALSE(visited[frame.value]);
                    visited[frame.value] = true;
                }
            }
            if (const auto frame = guest.allocator.allocate({static_cast<unsigned>(random() % order_count)}))
                allocated.push_back(*frame);
            if (random() % 2 == 0 && !allocated.empty()) {
                guest.allocator.free(allocated.front());
                allocated.pop_front();
            }
            while (in_hand.size() > 16 || (count == 0 && !in_hand.empty())) {
                guest.allocator.put_back(in_hand.front(), Mark::as_it_was);
                in_hand.pop_front();
            }
            if (count == 0 && in_hand.empty() && !iterator.finished() && allocated.empty())
                iterator.skip_zone();
        }
    }
}

} // namespace
} // namespace aerate::guestkit
