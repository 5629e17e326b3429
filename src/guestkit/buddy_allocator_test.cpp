#include "guestkit/buddy_allocator.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace aerate::guestkit {
namespace {

constexpr PageCount no_reserve{0};

struct OneZone {
    OneZone(FrameNumber first, PageCount count, Watermarks watermarks = {})
        : records(count.value)
        , zone({first, count}, records, watermarks) {
        zone.add({first, count});
    }
    std::vector<FrameRecord> records;
    Zone zone;
    BuddyAllocator allocator{{&zone, 1}};
};

/// The free blocks as the records tell them, with their marks.
std::map<FrameNumber, std::pair<Order, bool>> free_blocks(const Zone& zone) {
    std::map<FrameNumber, std::pair<Order, bool>> blocks;
    for (FrameNumber frame = zone.frames().first; frame < zone.frames().end(); ++frame.value)
        if (const FrameRecord& record = zone.record(frame); record.state == FrameRecord::State::free)
            blocks[frame] = {Order{record.order}, record.reported};
    return blocks;
}

TEST(Zone, AddsWhateverRange) {
    for (std::uint64_t first = 0; first < 20; ++first)
        for (std::uint64_t count = 1; count < 40; ++count) {
            OneZone guest({first}, {count});
            std::uint64_t next = first;
            for (const auto& [frame, what] : free_blocks(guest.zone)) {
                ASSERT_EQ(frame.value, next);
                ASSERT_EQ(frame.value % pages_of(what.first).value, 0U);
                next += pages_of(what.first).value;
            }
            ASSERT_EQ(next, first + count);
            ASSERT_EQ(guest.zone.free_pages(), PageCount{count});
        }
}

TEST(Zone, SplitsTheSmallestAndMergesBack) {
    OneZone guest({0}, {16});
    const auto frame = guest.allocator.allocate({0});
    ASSERT_TRUE(frame);
    EXPECT_EQ(*frame, FrameNumber{0});
    EXPECT_EQ(free_blocks(guest.zone).size(), 4U);
    EXPECT_EQ(guest.allocator.allocate({3}), FrameNumber{8}) << "the block of that order, though smaller ones are free";
    EXPECT_EQ(guest.allocator.allocate({3}), std::nullopt);
    EXPECT_TRUE(guest.allocator.free({8}));
    EXPECT_TRUE(guest.allocator.free({0}));
    EXPECT_EQ(free_blocks(guest.zone).size(), 1U);
}

TEST(Zone, RefusesWhatItDidNotGiveOut) {
    OneZone guest({16}, {16});
    EXPECT_FALSE(guest.allocator.free({16})) << "free already";
    EXPECT_FALSE(guest.allocator.free({1000}));
    EXPECT_EQ(guest.allocator.allocate({max_order.value + 1}), std::nullopt);
    const auto frame = guest.allocator.allocate({2});
    EXPECT_FALSE(guest.allocator.free({frame->value + 1})) << "inside a block";
    EXPECT_FALSE(guest.allocator.put_back(*frame, Mark::reported)) << "allocated, not isolated";
    EXPECT_TRUE(guest.allocator.free(*frame));
    EXPECT_FALSE(guest.allocator.free(*frame)) << "twice";
}

TEST(Zone, KeepsAReserve) {
    OneZone guest({0}, {16}, {.min = {4}, .low = {8}});
    EXPECT_TRUE(guest.allocator.allocate_spare({3}));
    EXPECT_FALSE(guest.allocator.allocate_spare({3}));
    EXPECT_TRUE(guest.allocator.allocate_spare({2}));
    EXPECT_FALSE(guest.allocator.allocate_spare({0}));
    EXPECT_TRUE(guest.allocator.allocate({0}));
}

TEST(Reported, IsForgottenByAllocationSplitAndMerge) {
    OneZone guest({0}, {16});
    std::array<Block, 32> blocks;
    ASSERT_EQ(guest.allocator.isolate_unreported({2}, blocks), 1U);
    EXPECT_EQ(blocks[0], (Block{{0}, {4}}));
    EXPECT_EQ(guest.zone.free_pages(), no_reserve);
    EXPECT_FALSE(guest.allocator.free({0})) << "isolated is not allocated";
    EXPECT_TRUE(guest.allocator.put_back({0}, Mark::reported));
    EXPECT_EQ(guest.zone.reported_pages(), PageCount{16});
    EXPECT_EQ(guest.allocator.isolate_unreported({2}, blocks), 0U) << "once is enough";

    ASSERT_TRUE(guest.allocator.allocate({3})); // a split
    EXPECT_EQ(guest.zone.reported_pages(), PageCount{0});
    ASSERT_EQ(guest.allocator.isolate_unreported({2}, blocks), 1U);
    EXPECT_EQ(blocks[0], (Block{{8}, {3}}));
    EXPECT_TRUE(guest.allocator.put_back({8}, Mark::reported));
    EXPECT_EQ(guest.zone.reported_pages(), PageCount{8});

    EXPECT_TRUE(guest.allocator.free({0})); // a merge with what is not reported
    EXPECT_EQ(guest.zone.reported_pages(), PageCount{0});
    EXPECT_EQ(free_blocks(guest.zone).size(), 1U);
}

TEST(Reported, IsNotGivenToABlockThatMergesOnItsWayBack) {
    OneZone guest({0}, {16});
    const auto other = guest.allocator.allocate({3});
    ASSERT_EQ(other, FrameNumber{0});
    std::array<Block, 32> blocks;
    ASSERT_EQ(guest.allocator.isolate_unreported({3}, blocks), 1U);
    guest.allocator.free(*other);
    guest.allocator.put_back(blocks[0].first, Mark::reported);
    EXPECT_EQ(guest.zone.reported_pages(), PageCount{0});
}

TEST(Reported, BlocksAreAllocatedLast) {
    OneZone guest({0}, {32});
    ASSERT_EQ(guest.allocator.allocate({3}), FrameNumber{0});
    ASSERT_EQ(guest.allocator.allocate({3}), FrameNumber{8});
    ASSERT_EQ(guest.allocator.allocate({3}), FrameNumber{16});
    guest.allocator.free({0});
    std::array<Block, 1> block;
    ASSERT_EQ(guest.allocator.isolate_unreported({3}, block), 1U);
    guest.allocator.put_back(block[0].first, Mark::reported);
    EXPECT_NE(guest.allocator.allocate({3}), block[0].first);
    EXPECT_EQ(guest.allocator.allocate({3}), block[0].first);
}

TEST(Reported, NothingIsIsolatedBelowTheLowWatermark) {
    OneZone guest({0}, {64}, {.min = {0}, .low = {33}});
    std::array<Block, 32> blocks;
    ASSERT_TRUE(guest.allocator.allocate({5}));
    EXPECT_EQ(guest.allocator.isolate_unreported({0}, blocks), 0U);
}

/// What an allocator is, said as simply as possible.
struct Model {
    std::map<FrameNumber, Order> allocated;
    std::map<FrameNumber, Order> isolated;
    [[nodiscard]] bool overlaps(Block block) const {
        const auto meets = [&](const auto& map) {
            for (const auto& [first, order] : map) {
                const Block other{first, order};
                if (other.first < range_of(block).end() && block.first < range_of(other).end())
                    return true;
            }
            return false;
        };
        return meets(allocated) || meets(isolated);
    }
    [[nodiscard]] PageCount pages() const {
        PageCount total;
        for (const auto& [first, order] : allocated)
            total += pages_of(order);
        for (const auto& [first, order] : isolated)
            total += pages_of(order);
        return total;
    }
};

/// Free blocks cover all that is not given out, none has a free buddy of its order, and the counts agree.
void check(BuddyAllocator& allocator, const Model& model) {
    PageCount free;
    PageCount reported;
    for (const Zone& zone : allocator.zones()) {
        const auto blocks = free_blocks(zone);
        for (const auto& [first, what] : blocks) {
            const auto [order, is_reported] = what;
            ASSERT_FALSE(model.overlaps({first, order}));
            const auto buddy = blocks.find({first.value ^ pages_of(order).value});
            if (order < max_order && buddy != blocks.end()) {
                ASSERT_NE(buddy->second.first, order);
            }
            free += pages_of(order);
            if (is_reported)
                reported += pages_of(order);
        }
    }
    ASSERT_EQ(free, allocator.free_pages());
    ASSERT_EQ(reported, allocator.reported_pages());
    ASSERT_EQ(free + model.pages(), allocator.managed_pages());
}

class AgainstModel : public testing::TestWithParam<std::uint32_t> {};

TEST_P(AgainstModel, RandomOperations) {
    std::mt19937 random(GetParam());
    const auto below = [&](std::size_t limit) { return static_cast<std::size_t>(random() % limit); };
    std::vector<FrameRecord> records(300 + 2100);
    std::array<Zone, 2> zones{Zone({{5}, {300}}, std::span(records).first(300), {.min = {8}, .low = {16}}),
                              Zone({{4096}, {2100}}, std::span(records).subspan(300), {.min = {8}, .low = {16}})};
    zones[0].add({{5}, {300}});
    zones[1].add({{4096}, {1000}});
    zones[1].add({{5200}, {996}});
    BuddyAllocator allocator(zones);
    Model model;
    const auto pick = [&](std::map<FrameNumber, Order>& from) {
        return std::next(from.begin(), static_cast<std::ptrdiff_t>(below(from.size())));
    };

    for (unsigned i = 0; i < 2000; ++i) {
        switch (below(5)) {
        case 0:
        case 1: {
            const Order order{static_cast<unsigned>(below(below(2) == 0 ? 3 : order_count))};
            const auto first = below(2) == 0 ? allocator.allocate(order) : allocator.allocate_spare(order);
            if (first) {
                ASSERT_FALSE(model.overlaps({*first, order}));
                ASSERT_EQ(first->value % pages_of(order).value, 0U);
                ASSERT_EQ(allocator.allocated_order(*first), order);
                model.allocated[*first] = order;
            }
            break;
        }
        case 2:
            if (!model.allocated.empty()) {
                const auto it = pick(model.allocated);
                ASSERT_TRUE(allocator.free(it->first));
                model.allocated.erase(it);
            }
            break;
        case 3: {
            std::array<Block, 4> blocks;
            const std::size_t count = allocator.isolate_unreported({static_cast<unsigned>(below(4))}, blocks);
            for (const Block& block : std::span(blocks).first(count)) {
                ASSERT_FALSE(model.overlaps(block));
                model.isolated[block.first] = block.order;
            }
            break;
        }
        default:
            if (!model.isolated.empty()) {
                const auto it = pick(model.isolated);
                ASSERT_TRUE(allocator.put_back(it->first, below(2) == 0 ? Mark::reported : Mark::as_it_was));
                model.isolated.erase(it);
            }
        }
        if (i % 16 == 0)
            check(allocator, model);
    }
    for (const auto& [first, order] : model.allocated)
        ASSERT_TRUE(allocator.free(first));
    for (const auto& [first, order] : model.isolated)
        ASSERT_TRUE(allocator.put_back(first, Mark::as_it_was));
    check(allocator, {});
}

INSTANTIATE_TEST_SUITE_P(Seeds, AgainstModel, testing::Range(1U, 21U));

} // namespace
} // namespace aerate::guestkit
