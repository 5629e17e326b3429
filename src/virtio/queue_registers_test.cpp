// What a driver says of a queue, a saved position in it, and when a side wants to be woken: checked before it is used.
#include "virtio/testing/fake_driver.hpp"
#include "virtio/virtqueue.hpp"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace aerate::virtio {
namespace {

using namespace testing;

TEST(Registers, R12_R13_AreValidated) {
    FakeDriver fake;
    const GuestMemory& memory = fake.memory();
    const QueueRegisters good{256, {0x10000}, {0x20000}, {0x30000}, true};
    const std::uint64_t end = FakeDriver::low.length.value;
    const struct {
        const char* what;
        QueueRegisters registers;
        std::optional<RingFault> split;
        std::optional<RingFault> packed;
    } cases[] = {
        {"good", good, {}, {}},
        {"size 0",
         {0, good.descriptors, good.driver, good.device, true},
         RingFault::bad_registers,
         RingFault::bad_registers},
        {"not a power of two", {255, good.descriptors, good.driver, good.device, true}, RingFault::bad_registers, {}},
        {"above the maximum",
         {512, good.descriptors, good.driver, good.device, true},
         RingFault::bad_registers,
         RingFault::bad_registers},
        {"32768",
         {32768, good.descriptors, good.driver, good.device, true},
         RingFault::bad_registers,
         RingFault::bad_registers},
        {"descriptors misaligned",
         {256, {0x10008}, good.driver, good.device, true},
         RingFault::bad_registers,
         RingFault::bad_registers},
        {"driver area misaligned",
         {256, good.descriptors, {0x20001}, good.device, true},
         RingFault::bad_registers,
         RingFault::bad_registers},
        {"driver area aligned to 2",
         {256, good.descriptors, {0x20002}, good.device, true},
         {},
         RingFault::bad_registers},
        {"device area misaligned",
         {256, good.descriptors, good.driver, {0x30002}, true},
         RingFault::bad_registers,
         RingFault::bad_registers},
        {"the parts overlap", {256, good.descriptors, good.descriptors, good.descriptors, true}, {}, {}},
        {"in a hole",
         {256, {0x8000'0000}, good.driver, good.device, true},
         RingFault::outside_memory,
         RingFault::outside_memory},
        {"partly in a hole",
         {256, {end - 16}, good.driver, good.device, true},
         RingFault::outside_memory,
         RingFault::outside_memory},
        {"the last bytes of RAM", {256, {end - 4096}, {end - 0x4000}, {end - 0x2000}, true}, {}, {}},
        {"used ring over the end",
         {256, good.descriptors, good.driver, {end - 2048}, true},
         RingFault::outside_memory,
         {}},
        {"wraps",
         {256, {~0ULL - 15}, good.driver, good.device, true},
         RingFault::outside_memory,
         RingFault::outside_memory},
        {"beyond everything",
         {256, good.descriptors, good.driver, {1ULL << 63}, true},
         RingFault::outside_memory,
         RingFault::outside_memory},
    };
    for (const auto& test : cases) {
        EXPECT_EQ(check_registers(test.registers, 256, split_ring, memory), test.split) << test.what;
        EXPECT_EQ(check_registers(test.registers, 256, packed_ring, memory), test.packed) << test.what;
    }
}

TEST(Registers, LargestQueuesWork) {
    FakeDriver fake;
    for (const FeatureSet features : {split_ring, packed_ring}) {
        FakeQueue both = fake.queue(max_queue_size, features);
        ASSERT_FALSE(check_registers(both.registers(), max_queue_size, features, fake.memory()));
        std::vector<FakeBuffer> all(max_queue_size, writable_at({0}, 1));
        for (int round = 0; round < 3; ++round) {
            both.add(all);
            const auto popped = both.device().pop();
            ASSERT_TRUE(popped && *popped);
            const DescriptorChain& chain = **popped;
            EXPECT_EQ(chain.writable.size(), max_queue_size);
            both.device().complete(chain.id, 1);
            EXPECT_TRUE(both.device().publish());
            EXPECT_TRUE(both.take_used());
        }
    }
}

TEST(Position, P6_InconsistentOnesAreRefused) {
    const QueueRegisters registers{8, {}, {}, {}, true};
    const auto bad = std::optional(RingFault::bad_position);
    EXPECT_EQ(check_position(registers, {65535, 65530}, split_ring), std::nullopt);
    EXPECT_EQ(check_position(registers, {3, 65531}, split_ring), std::nullopt);
    EXPECT_EQ(check_position(registers, {3, 65530}, split_ring), bad);
    EXPECT_EQ(check_position(registers, {3, 4}, split_ring), bad);
    EXPECT_EQ(check_position(registers, {3, 3, true, true}, packed_ring), std::nullopt);
    EXPECT_EQ(check_position(registers, {3, 3, true, false}, packed_ring), std::nullopt) << "all in flight";
    EXPECT_EQ(check_position(registers, {3, 4, true, true}, packed_ring), bad);
    EXPECT_EQ(check_position(registers, {4, 3, false, true}, packed_ring), bad);
    EXPECT_EQ(check_position(registers, {8, 3, true, true}, packed_ring), bad);
    EXPECT_EQ(check_position(registers, {0, 8, false, true}, packed_ring), bad);
}

TEST(EventSuppression, FollowsTheWindowAcrossTheEndOfTheRing) {
    using packed::EventSuppression;
    // Every place of an event, seen from every window of a ring of 4, against counting in one line.
    constexpr std::uint16_t size = 4;
    for (unsigned before = 0; before < 3 * size; ++before) {
        for (unsigned moved = 1; moved <= size; ++moved) {
            const unsigned now = before + moved;
            // The event may lie from a lap back to just before a lap ahead, as a driver that keeps up places it.
            for (unsigned event = before < size ? 0 : before - size + 1; event <= before + size - 1; ++event) {
                auto cursor = [](unsigned place) {
                    return packed::Cursor{static_cast<std::uint16_t>(place % size), place / size % 2 == 0};
                };
                const EventSuppression suppression{cursor(event), EventSuppression::at_descriptor};
                if (event + 2 * size <= now + size)
                    continue; // more than a lap behind: the wrap counter is ambiguous
                const bool passed = event >= before && event < now;
                EXPECT_EQ(suppression.due(cursor(now), static_cast<std::uint16_t>(moved), size, true), passed)
                    << before << " + " << moved << ", event at " << event;
            }
        }
    }
}

} // namespace
} // namespace aerate::virtio
