// Hostile packed rings: the P cases of docs/hostile-inputs.md, by number, and the R cases that have a packed
// counterpart.
#include "virtio/packed_ring.hpp"
#include "virtio/testing/fake_driver.hpp"
#include "virtio/testing/raw_ring.hpp"

#include <gtest/gtest.h>

#include <array>

namespace aerate::virtio {
namespace {

using namespace testing;
using namespace descriptor_flag;

constexpr std::uint16_t size = 8;
constexpr std::uint16_t ready = descriptor_flag::available; // on the first lap

class PackedRingTest : public ::testing::Test {
protected:
    FakeDriver fake_;
    FakeQueue queue_ = fake_.queue(size, packed_ring_with_events);
    RawPackedRing raw_{fake_.memory(), queue_.registers()};
    GuestAddress table_ = fake_.allocate({4096});

    void fresh(FeatureSet features = packed_ring_with_events) {
        queue_ = fake_.queue(size, features);
        raw_ = RawPackedRing(fake_.memory(), queue_.registers());
    }
    Virtqueue& device() { return queue_.device(); }
    void expect_fault(RingFault fault, const char* what = "") {
        for (int i = 0; i < 3; ++i) {
            const auto chain = device().pop();
            ASSERT_FALSE(chain) << what;
            EXPECT_EQ(chain.error(), fault) << what << ": " << describe(chain.error());
        }
        EXPECT_EQ(device().fault(), fault) << what;
        EXPECT_EQ(device().available(), 0) << what;
    }
    DescriptorChain expect_chain() {
        const auto chain = device().pop();
        EXPECT_TRUE(chain.has_value() && chain->has_value());
        return chain && *chain ? **chain : DescriptorChain{};
    }
};

TEST_F(PackedRingTest, P1_WrongWrapBitsAreNotAvailableYet) {
    for (const unsigned flags : {0U, unsigned{descriptor_flag::used}, unsigned{descriptor_flag::used | ready}}) {
        fresh();
        raw_.descriptor(0, {0, 4, 0, static_cast<std::uint16_t>(flags)});
        const auto chain = device().pop();
        ASSERT_TRUE(chain);
        EXPECT_FALSE(*chain);
    }
}

TEST_F(PackedRingTest, P2_ChainsLongerThanTheRing) {
    for (unsigned i = 0; i < size; ++i)
        raw_.descriptor(i, {0, 1, 0, ready | next});
    expect_fault(RingFault::chain_too_long, "a full loop");

    // Into descriptors that are in flight.
    fresh();
    queue_.add({writable(1), writable(1), writable(1)});
    expect_chain();
    for (unsigned i = 3; i < size; ++i)
        raw_.descriptor(i, {0, 1, 1, ready | next});
    expect_fault(RingFault::too_many_in_flight, "over its neighbours");
}

TEST_F(PackedRingTest, P3_BufferIds) {
    for (const std::uint16_t id : {size, std::uint16_t{65535}}) {
        fresh();
        raw_.descriptor(0, {0, 1, id, ready});
        expect_fault(RingFault::index_out_of_range);
    }
    fresh();
    raw_.descriptor(0, {0, 1, 3, ready});
    raw_.descriptor(1, {0, 1, 3, ready});
    const auto first = expect_chain();
    expect_fault(RingFault::too_many_in_flight, "an ID twice");
    device().complete(first.id, 0);
    EXPECT_TRUE(device().publish());
}

TEST_F(PackedRingTest, P4_MalformedIndirectTables) {
    const struct {
        const char* what;
        PackedDescriptor head;
        RingFault fault;
        FeatureSet features = packed_ring_with_events;
    } cases[] = {
        {"length 0", {table_.value, 0, 0, ready | indirect}, RingFault::bad_indirect},
        {"length 24", {table_.value, 24, 0, ready | indirect}, RingFault::bad_indirect},
        {"longer than the ring", {table_.value, 16 * (size + 1), 0, ready | indirect}, RingFault::bad_indirect},
        {"with NEXT", {table_.value, 16, 0, ready | indirect | next}, RingFault::bad_indirect},
        {"not negotiated", {table_.value, 16, 0, ready | indirect}, RingFault::bad_indirect, packed_ring},
        {"in a hole", {0x8000'0000, 16, 0, ready | indirect}, RingFault::outside_memory},
        {"wraps", {~0ULL - 15, 32, 0, ready | indirect}, RingFault::outside_memory},
    };
    for (const auto& test : cases) {
        fresh(test.features);
        raw_.descriptor(0, test.head);
        expect_fault(test.fault, test.what);
    }
    fresh();
    raw_.descriptor(0, {0, 1, 0, ready | next});
    raw_.descriptor(1, {table_.value, 16, 0, ready | indirect});
    expect_fault(RingFault::bad_indirect, "after a direct descriptor (2.8.19)");

    // 2.8.7: flags other than WRITE are ignored inside a table, and the whole table is the chain.
    fresh();
    poke(fake_.memory(), table_, PackedDescriptor{0x1000, 4, 99, next | indirect});
    poke(fake_.memory(), {table_.value + 16}, PackedDescriptor{0x2000, 4, 99, static_cast<std::uint16_t>(write)});
    raw_.descriptor(0, {table_.value, 32, 5, ready | indirect | write});
    const auto chain = expect_chain();
    EXPECT_EQ(chain.id.value, 5);
    EXPECT_EQ(chain.readable.size(), 1U);
    EXPECT_EQ(chain.writable.size(), 1U);
}

TEST_F(PackedRingTest, P5_SenselessEventSuppressionCountsAsEnabled) {
    const struct {
        const char* what;
        std::uint16_t offset_and_wrap;
        std::uint16_t flags;
        bool interrupt;
    } cases[] = {
        {"enabled", 0, 0, true},
        {"disabled", 0, 1, false},
        {"at this descriptor", 0x8000, 2, true},
        {"at a later one", 0x8003, 2, false},
        {"at this slot of the lap before", 0x0000, 2, false},
        {"beyond the ring", 0x8000 | size, 2, true},
        {"far beyond the ring", 0xffff, 2, true},
        {"reserved mode", 0x8003, 3, true},
        {"reserved bits", 0x8003, 0xfffe, false},
    };
    for (const auto& test : cases) {
        fresh();
        queue_.add({writable(4)});
        raw_.driver_event(test.offset_and_wrap, test.flags);
        device().complete(expect_chain().id, 0);
        EXPECT_EQ(device().publish(), test.interrupt) << test.what;
    }
    fresh(packed_ring);
    queue_.add({writable(4)});
    raw_.driver_event(0x8003, 2);
    device().complete(expect_chain().id, 0);
    EXPECT_TRUE(device().publish()) << "a descriptor event that was not negotiated";
}

TEST_F(PackedRingTest, R9_R14_ChainShape) {
    raw_.descriptor(0, {0, 0xffff'ffff, 0, ready | next});
    raw_.descriptor(1, {0, 2, 0, ready});
    expect_fault(RingFault::chain_too_large);
    fresh();
    raw_.descriptor(0, {0, 1, 0, ready | next | write});
    raw_.descriptor(1, {0, 1, 0, ready});
    expect_fault(RingFault::readable_after_writable);
}

TEST_F(PackedRingTest, R20_TheIdIsTheOneThatWasRead) {
    raw_.descriptor(0, {0x1000, 4, 2, ready | write});
    const auto chain = expect_chain();
    raw_.descriptor(0, {~0ULL, 0xffff'ffff, 65535, 0xffff});
    device().complete(chain.id, 4);
    (void)device().publish();
    EXPECT_EQ(raw_.descriptor(0).id, 2);
    EXPECT_EQ(raw_.descriptor(0).flags, descriptor_flag::available | descriptor_flag::used | write);
}

TEST_F(PackedRingTest, ABatchAppearsAllAtOnce) {
    for (int i = 0; i < 3; ++i)
        queue_.add({writable(4)});
    for (int i = 0; i < 3; ++i)
        device().complete(expect_chain().id, 4);
    EXPECT_FALSE(queue_.take_used()) << "the first is written last";
    (void)device().publish();
    for (std::uint32_t i = 0; i < 3; ++i)
        EXPECT_EQ(queue_.take_used()->token, i);
}

TEST_F(PackedRingTest, CompletionsAreWrittenInTheirOwnOrderAndSkipTheirOwnLength) {
    const auto one = queue_.add({writable(4), writable(4), writable(4)});
    const auto two = queue_.add({writable(4), writable(4)});
    const auto first = expect_chain().id;
    const auto second = expect_chain().id;
    device().complete(second, 2);
    device().complete(first, 1);
    (void)device().publish();
    EXPECT_EQ(raw_.descriptor(0).id, second.value);
    EXPECT_EQ(raw_.descriptor(2).id, first.value);
    EXPECT_EQ(queue_.take_used()->token, two);
    EXPECT_EQ(queue_.take_used()->token, one);
    EXPECT_EQ(device().position(), (QueuePosition{5, 5, true, true}));
}

TEST_F(PackedRingTest, AsksForTheNextKickWhenItFindsTheRingEmpty) {
    queue_.add({writable(4)});
    expect_chain();
    EXPECT_FALSE(*device().pop());
    EXPECT_EQ(raw_.device_event().mode, packed::EventSuppression::at_descriptor);
    EXPECT_EQ(raw_.device_event().at, (packed::Cursor{1, true}));
    device().want_kicks(false);
    EXPECT_EQ(raw_.device_event().mode, packed::EventSuppression::disabled);
    device().want_kicks(true);
    EXPECT_EQ(raw_.device_event().at, (packed::Cursor{1, true}));
}

} // namespace
} // namespace aerate::virtio
