// Hostile split rings: the R cases of docs/hostile-inputs.md, by number.
#include "virtio/split_ring.hpp"
#include "virtio/testing/fake_driver.hpp"
#include "virtio/testing/raw_ring.hpp"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <vector>

namespace aerate::virtio {
namespace {

using namespace testing;
using namespace descriptor_flag;

constexpr std::uint16_t size = 8;

class SplitRingTest : public ::testing::Test {
protected:
    FakeDriver fake_;
    FakeQueue queue_ = fake_.queue(size, split_ring_with_events);
    RawSplitRing raw_{fake_.memory(), queue_.registers()};
    GuestAddress table_ = fake_.allocate({4096});

    void fresh(FeatureSet features = split_ring_with_events) {
        queue_ = fake_.queue(size, features);
        raw_ = RawSplitRing(fake_.memory(), queue_.registers());
    }
    Virtqueue& device() { return queue_.device(); }
    void table_entry(unsigned index, const SplitDescriptor& entry) {
        poke(fake_.memory(), {table_.value + 16ULL * index}, entry);
    }
    /// The fault is the same for ever, and counts nothing as taken.
    void expect_fault(RingFault fault, const char* what = "") {
        for (int i = 0; i < 3; ++i) {
            const auto chain = device().pop();
            ASSERT_FALSE(chain) << what;
            EXPECT_EQ(chain.error(), fault) << what << ": " << describe(chain.error());
        }
        EXPECT_EQ(device().fault(), fault) << what;
        EXPECT_EQ(device().in_flight(), 0) << what;
        EXPECT_EQ(device().available(), 0) << what;
    }
    DescriptorChain expect_chain() {
        const auto chain = device().pop();
        EXPECT_TRUE(chain.has_value() && chain->has_value());
        return chain && *chain ? **chain : DescriptorChain{};
    }
};

TEST_F(SplitRingTest, R1_LoopsEndAfterAsManyHopsAsDescriptors) {
    const struct {
        const char* what;
        unsigned length;
    } loops[] = {{"itself", 1}, {"two", 2}, {"the full ring", size}};
    for (const auto& loop : loops) {
        fresh();
        for (unsigned i = 0; i < loop.length; ++i)
            raw_.descriptor(i, {0, 1, next, static_cast<std::uint16_t>((i + 1) % loop.length)});
        raw_.offer(0);
        expect_fault(RingFault::chain_too_long, loop.what);
    }
    fresh();
    table_entry(0, {0, 1, next, 0});
    raw_.descriptor(0, {table_.value, 16, indirect, 0});
    raw_.offer(0);
    expect_fault(RingFault::chain_too_long, "in a table");
}

TEST_F(SplitRingTest, R2_IndicesBeyondTheRing) {
    for (const std::uint16_t index : {size, std::uint16_t{65535}}) {
        fresh();
        raw_.descriptor(0, {0, 1, next, index});
        raw_.offer(0);
        expect_fault(RingFault::index_out_of_range, "next");
        fresh();
        raw_.offer(index);
        expect_fault(RingFault::index_out_of_range, "head");
        fresh();
        table_entry(0, {0, 1, next, index});
        raw_.descriptor(0, {table_.value, 32, indirect, 0});
        raw_.offer(0);
        expect_fault(RingFault::index_out_of_range, "next in a table");
    }
}

TEST_F(SplitRingTest, R3_R4_MalformedIndirectTables) {
    const std::uint64_t end = FakeDriver::low.length.value;
    const struct {
        const char* what;
        SplitDescriptor head;
        RingFault fault;
        FeatureSet features = split_ring_with_events;
    } cases[] = {
        {"with NEXT", {table_.value, 16, indirect | next, 1}, RingFault::bad_indirect},
        {"not negotiated", {table_.value, 16, indirect, 0}, RingFault::bad_indirect, split_ring},
        {"length 0", {table_.value, 0, indirect, 0}, RingFault::bad_indirect},
        {"length 15", {table_.value, 15, indirect, 0}, RingFault::bad_indirect},
        {"length 17", {table_.value, 17, indirect, 0}, RingFault::bad_indirect},
        {"longer than the ring", {table_.value, 16 * (size + 1), indirect, 0}, RingFault::bad_indirect},
        {"2^32 - 16", {table_.value, 0xffff'fff0, indirect, 0}, RingFault::bad_indirect},
        {"straddles the end of RAM", {end - 16, 32, indirect, 0}, RingFault::outside_memory},
        {"in a hole", {end, 16, indirect, 0}, RingFault::outside_memory},
        {"wraps (R7)", {~0ULL - 15, 32, indirect, 0}, RingFault::outside_memory},
    };
    for (const auto& test : cases) {
        fresh(test.features);
        raw_.descriptor(0, test.head);
        raw_.offer(0);
        expect_fault(test.fault, test.what);
    }
    fresh();
    table_entry(0, {table_.value, 16, indirect, 0});
    raw_.descriptor(0, {table_.value, 16, indirect, 0});
    raw_.offer(0);
    expect_fault(RingFault::bad_indirect, "nested");
}

TEST_F(SplitRingTest, R5_WriteOnTheReferenceToATableIsIgnored) {
    table_entry(0, {0x1000, 4, 0, 0});
    raw_.descriptor(0, {table_.value, 16, indirect | write, 0});
    raw_.offer(0);
    const auto chain = expect_chain();
    EXPECT_EQ(chain.readable.size(), 1U);
    EXPECT_TRUE(chain.writable.empty());
}

TEST_F(SplitRingTest, DirectDescriptorsMayPrecedeATable) {
    table_entry(0, {0x3000, 4, next | write, 2});
    table_entry(2, {0x4000, 4, write, 0});
    raw_.descriptor(5, {0x1000, 4, next, 3});
    raw_.descriptor(3, {table_.value, 48, indirect, 0});
    raw_.offer(5);
    const auto chain = expect_chain();
    EXPECT_EQ(chain.readable.size(), 1U);
    ASSERT_EQ(chain.writable.size(), 2U);
    EXPECT_EQ(chain.writable[1].address.value, 0x4000U);
}

TEST_F(SplitRingTest, R6_R7_R8_R15_BuffersAreTheDevicesToJudge) {
    // Empty, in a hole, over the end of RAM, wrapping, only writable: the ring carries them all.
    const SplitDescriptor odd[] = {{0x1000, 0, 0, 0},
                                   {0x8000'0000, 64, write, 0},
                                   {FakeDriver::low.length.value - 8, 16, 0, 0},
                                   {~0ULL, 0xffff'ffff, write, 0}};
    for (const auto& descriptor : odd) {
        fresh();
        raw_.descriptor(0, descriptor);
        raw_.offer(0);
        const auto chain = expect_chain();
        EXPECT_EQ(chain.readable.size() + chain.writable.size(), 1U);
        device().complete(chain.id, 0);
        EXPECT_TRUE(device().publish());
    }
}

TEST_F(SplitRingTest, R9_ChainsOfMoreThan4GiB) {
    raw_.descriptor(0, {0, 0xffff'ffff, next, 1});
    raw_.descriptor(1, {0, 1, 0, 0});
    raw_.offer(0);
    expect_chain(); // 2^32 bytes exactly
    fresh();
    raw_.descriptor(0, {0, 0xffff'ffff, next, 1});
    raw_.descriptor(1, {0, 2, 0, 0});
    raw_.offer(0);
    expect_fault(RingFault::chain_too_large);

    // More segments than the ring has descriptors, though every table is short enough.
    fresh();
    for (unsigned i = 0; i < size; ++i)
        table_entry(i, {0, 1, i + 1 < size ? next : std::uint16_t{0}, static_cast<std::uint16_t>(i + 1)});
    raw_.descriptor(0, {0, 1, next, 1});
    raw_.descriptor(1, {table_.value, 16 * size, indirect, 0});
    raw_.offer(0);
    expect_fault(RingFault::chain_too_long);
}

TEST_F(SplitRingTest, R10_AvailableIndexJumps) {
    for (const std::uint16_t index : {std::uint16_t{size + 1}, std::uint16_t{32768}, std::uint16_t{65535}}) {
        fresh();
        raw_.available_index(index);
        expect_fault(RingFault::available_jumped);
    }
    fresh();
    queue_.add({writable(4)});
    queue_.add({writable(4)});
    expect_chain();
    expect_chain();
    raw_.available_index(1); // going back
    const auto chain = device().pop();
    ASSERT_FALSE(chain);
    EXPECT_EQ(chain.error(), RingFault::available_jumped);
    EXPECT_EQ(device().in_flight(), 2) << "what was taken is still the device's to complete";
}

TEST_F(SplitRingTest, R13_PartsThatOverlapHarmOnlyTheGuest) {
    const QueueRegisters overlapping{size, {0x10000}, {0x10000}, {0x10000}, true};
    ASSERT_FALSE(check_registers(overlapping, size, split_ring_with_events, fake_.memory()));
    const auto ring = make_virtqueue(overlapping, {}, split_ring_with_events, fake_.memory());
    RawSplitRing raw(fake_.memory(), overlapping);
    raw.available_index(1);
    for (int i = 0; i < 100; ++i) {
        const auto chain = ring->pop();
        if (!chain)
            break;
        if (*chain)
            ring->complete((*chain)->id, 0xffff'ffff);
        (void)ring->publish();
    }
    SUCCEED();
}

TEST_F(SplitRingTest, R14_ReadableAfterWritable) {
    raw_.descriptor(0, {0, 1, write | next, 1});
    raw_.descriptor(1, {0, 1, 0, 0});
    raw_.offer(0);
    expect_fault(RingFault::readable_after_writable);
}

TEST_F(SplitRingTest, R16_AHeadMadeAvailableTwice) {
    raw_.descriptor(0, {0, 1, 0, 0});
    raw_.available_entry(0, 0);
    raw_.available_entry(1, 0);
    raw_.available_index(2);
    const auto first = expect_chain();
    const auto chain = device().pop();
    ASSERT_FALSE(chain);
    EXPECT_EQ(chain.error(), RingFault::too_many_in_flight);
    device().complete(first.id, 0);
    EXPECT_TRUE(device().publish()) << "work in flight still ends";
    EXPECT_FALSE(device().pop()) << "and the fault stays";
}

TEST_F(SplitRingTest, R17_TheUsedIndexIsNeverReadBack) {
    for (std::uint16_t round = 1; round <= 3; ++round) {
        queue_.add({writable(4)});
        raw_.used_index(0x5555);
        device().complete(expect_chain().id, 0);
        (void)device().publish();
        EXPECT_EQ(raw_.used_index(), round);
        EXPECT_TRUE(queue_.take_used());
    }
}

TEST_F(SplitRingTest, R18_EventIndicesOfAnyValueAreSafe) {
    for (unsigned event = 0; event < 65536; event += 97) {
        queue_.add({writable_at({0}, 4)});
        raw_.used_event(static_cast<std::uint16_t>(event));
        device().complete(expect_chain().id, 0);
        (void)device().publish();
        EXPECT_TRUE(queue_.take_used());
    }
    // Not negotiated but used: the flag counts, the index does not.
    fresh(split_ring);
    queue_.add({writable(4)});
    raw_.used_event(40000);
    device().complete(expect_chain().id, 0);
    EXPECT_TRUE(device().publish());
    raw_.available_flags(split::no_notification);
    queue_.add({writable(4)});
    device().complete(expect_chain().id, 0);
    EXPECT_FALSE(device().publish());
}

TEST_F(SplitRingTest, R19_UnknownFlagsAreIgnored) {
    raw_.descriptor(0, {0x1000, 4, 0xfff8, 3});
    raw_.available_flags(0xfffe);
    raw_.offer(0);
    EXPECT_EQ(expect_chain().readable.size(), 1U);
}

// Another vCPU rewrites the ring between pop() and complete(): what the device holds is a copy.
TEST_F(SplitRingTest, R20_WhatIsRewrittenAfterwardsIsNotReadAgain) {
    raw_.descriptor(0, {0x1000, 4, write, 0});
    raw_.offer(0);
    const auto chain = expect_chain();
    raw_.descriptor(0, {~0ULL, 0xffff'ffff, indirect | next, 65535});
    raw_.available_entry(0, 65535);
    ASSERT_EQ(chain.writable.size(), 1U);
    EXPECT_EQ(chain.writable[0].address.value, 0x1000U);
    device().complete(chain.id, 4);
    (void)device().publish();
    EXPECT_EQ(raw_.used_index(), 1);
}

TEST_F(SplitRingTest, AsksForTheNextKickOnlyWhenItFindsTheRingEmpty) {
    queue_.add({writable(4)});
    queue_.add({writable(4)});
    expect_chain();
    EXPECT_EQ(raw_.available_event(), 0);
    expect_chain();
    EXPECT_FALSE(*device().pop());
    EXPECT_EQ(raw_.available_event(), 2);
    device().want_kicks(false);
    EXPECT_EQ(raw_.used_flags(), 0) << "2.7.10: clear when EVENT_IDX is negotiated";
    fresh(split_ring);
    device().want_kicks(false);
    EXPECT_EQ(raw_.used_flags(), split::no_notification);
}

} // namespace
} // namespace aerate::virtio
