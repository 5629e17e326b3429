// Ring memory that is given back to the host while a device uses it (the guest put it into the balloon): cases T8 and
// T9 of docs/hostile-inputs.md. The regions of guest memory never change, so what a ring has looked up stays mapped; it
// turns into zeros.
#include "virtio/testing/fake_driver.hpp"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <vector>

namespace aerate::virtio {
namespace {

using namespace testing;

/// Its descriptors fill the first page, and all else is in the second.
constexpr std::uint16_t size = 256;

enum class Part { descriptors, the_rest, all };

class DiscardedRing : public ::testing::TestWithParam<FeatureSet> {
protected:
    [[nodiscard]] static bool packed() { return GetParam().has(feature::ring_packed); }
    void discard(FakeQueue& queue, Part part) {
        const FrameNumber first = frame_of(queue.registers().descriptors);
        const PageRange pages{{first.value + (part == Part::the_rest ? 1U : 0U)}, {part == Part::all ? 2U : 1U}};
        ASSERT_EQ(fake_.memory().discard(std::array{pages}).discarded, pages.count);
    }
    FakeDriver fake_;
};

INSTANTIATE_TEST_SUITE_P(Rings, DiscardedRing,
                         ::testing::Values(split_ring, split_ring_with_events, packed_ring, packed_ring_with_events));

TEST_P(DiscardedRing, T9_EndsInAFaultOrAnEmptyRing) {
    for (const Part part : {Part::descriptors, Part::the_rest, Part::all}) {
        SCOPED_TRACE(static_cast<int>(part));
        FakeQueue queue = fake_.queue(size, GetParam());
        Virtqueue& device = queue.device();
        std::vector<ChainId> taken;
        for (int i = 0; i < 4; ++i)
            queue.add({writable(4), writable(4)});
        for (int i = 0; i < 2; ++i) {
            const auto chain = device.pop();
            ASSERT_TRUE(chain && *chain);
            taken.push_back((*chain)->id);
        }
        discard(queue, part);

        // What the device holds, it can still complete.
        for (const ChainId id : taken)
            device.complete(id, 8);
        (void)device.publish();
        EXPECT_EQ(device.in_flight(), 0);
        EXPECT_LE(device.available(), size);

        // The rest: two chains of which the device already knew, or that it still sees; then nothing, or a fault.
        unsigned more = 0;
        auto chain = device.pop();
        for (; chain && *chain; chain = device.pop()) {
            ASSERT_LE(++more, 2U);
            device.complete((*chain)->id, 0);
        }
        (void)device.publish();
        if (packed()) {
            EXPECT_TRUE(chain.has_value()) << "a ring of zeros is empty";
            EXPECT_EQ(more, part == Part::the_rest ? 2U : 0U);
        } else {
            // How far the index went was read before it fell to 0, which is found out when the device looks again.
            EXPECT_EQ(more, 2U);
            EXPECT_EQ(device.fault(),
                      part == Part::descriptors ? std::nullopt : std::optional(RingFault::available_jumped));
        }
        device.want_kicks(false);
        device.want_kicks(true);
    }
}

TEST_P(DiscardedRing, T9_TheNextLifeOfTheQueueIsWhole) {
    FakeQueue queue = fake_.queue(size, GetParam());
    queue.add({writable(4)});
    discard(queue, Part::all);
    (void)queue.device().pop();
    queue = fake_.queue(size, GetParam());
    queue.add({writable(4)});
    const auto chain = queue.device().pop();
    ASSERT_TRUE(chain && *chain);
    queue.device().complete((*chain)->id, 4);
    (void)queue.device().publish();
    EXPECT_TRUE(queue.take_used());
}

TEST_P(DiscardedRing, T8_WhatWasPoppedStaysWhatItWas) {
    FakeQueue queue = fake_.queue(size, GetParam());
    const GuestAddress buffer = fake_.allocate({4096}, 4096);
    queue.add({writable_at(buffer, 64)});
    const auto chain = queue.device().pop();
    ASSERT_TRUE(chain && *chain);
    discard(queue, Part::all);
    ASSERT_EQ(fake_.memory().discard(std::array{PageRange{frame_of(buffer), {1}}}).discarded, PageCount{1});
    ASSERT_EQ((*chain)->writable.size(), 1U);
    EXPECT_EQ((*chain)->writable[0].address, buffer);
    EXPECT_EQ((*chain)->writable[0].length, 64U);
    const std::array bytes{std::byte{1}, std::byte{2}};
    EXPECT_TRUE(fake_.memory().write((*chain)->writable[0].address, bytes));
    queue.device().complete((*chain)->id, 2);
    (void)queue.device().publish();
    const auto used = queue.take_used();
    ASSERT_TRUE(used) << "the used entry is written anew";
    EXPECT_EQ(used->bytes[1], std::byte{2});
}

TEST(DiscardedTable, T8_ATableOfZerosIsAChainOfEmptyBuffers) {
    for (const FeatureSet features : {split_ring_with_events, packed_ring_with_events}) {
        const bool packed = features.has(feature::ring_packed);
        SCOPED_TRACE(packed ? "packed" : "split");
        FakeDriver fake;
        FakeQueue queue = fake.queue(size, features);
        const RingMemory table = fake.allocator().allocate_ring({4096});
        const std::array buffers{DriverBuffer{{0x1000}, 64, false}, DriverBuffer{{0x2000}, 64, true},
                                 DriverBuffer{{0x3000}, 64, true}};
        const bool added = packed ? queue.driver<PackedDriver>().add_indirect(buffers, table, 0)
                                  : queue.driver<SplitDriver>().add_indirect(buffers, table, 0);
        ASSERT_TRUE(added);
        (void)queue.publish();
        ASSERT_EQ(fake.memory().discard(std::array{PageRange{frame_of(table.guest), {1}}}).discarded, PageCount{1});

        const auto chain = queue.device().pop();
        ASSERT_TRUE(chain && *chain);
        EXPECT_TRUE((*chain)->writable.empty());
        // A split table's first entry has no NEXT; a packed table is as long as its reference says.
        EXPECT_EQ((*chain)->readable.size(), packed ? 3U : 1U);
        for (const Buffer& buffer : (*chain)->readable)
            EXPECT_EQ(buffer.length, 0U);
        queue.device().complete((*chain)->id, 0);
        EXPECT_TRUE(queue.device().publish());
    }
}

} // namespace
} // namespace aerate::virtio
