#include "virtio/device.hpp"
#include "virtio/take_chains.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <gtest/gtest.h>

#include <array>

namespace aerate::virtio {
namespace {

using namespace testing;

/// Has something for the guest now and then, and leaves its buffers in the ring until then.
class Mailbox final : public Device {
public:
    Mailbox()
        : Device("mailbox") {}
    [[nodiscard]] DeviceType type() const override { return DeviceType::console; }
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return sizes; }
    void post_letters(unsigned count) {
        letters_ += count;
        serve_again({0});
    }

private:
    std::expected<bool, RingFault> serve(QueueIndex, Virtqueue& queue) override {
        return take_chains(queue, letters_, [&](const DescriptorChain& chain) {
            queue.complete(chain.id, 0);
            --letters_;
        });
    }
    bool leaves_buffers(QueueIndex) const override { return letters_ == 0; }

    static constexpr std::array<std::uint16_t, 1> sizes{8};
    unsigned letters_ = 0;
};

class LeavesBuffers : public ::testing::TestWithParam<FeatureSet> {
protected:
    void activate() {
        Virtqueue* const queues[] = {&queue.device()};
        device.activate({GetParam(), queues, &host});
    }
    unsigned delivered() {
        unsigned count = 0;
        while (queue.take_used())
            ++count;
        return count;
    }
    FakeDriver fake;
    FakeQueue queue = fake.queue(8, GetParam());
    FakeHost host;
    Mailbox device;
};

INSTANTIATE_TEST_SUITE_P(Rings, LeavesBuffers, ::testing::Values(split_ring_with_events, packed_ring_with_events));

TEST_P(LeavesBuffers, WhatWaitsForTheHostStaysInTheRingAndCostsNoTurns) {
    activate();
    for (int i = 0; i < 4; ++i)
        queue.add({writable(16)});
    device.kicked({0});
    EXPECT_TRUE(host.kicks_again.empty()) << "it would spin";
    EXPECT_EQ(delivered(), 0U);
    device.post_letters(3);
    EXPECT_EQ(delivered(), 3U);
    EXPECT_TRUE(host.kicks_again.empty());
}

TEST_P(LeavesBuffers, AnEmptyRingAsksForAKickWhenThereIsSomethingToDeliver) {
    activate();
    queue.add({writable(16)});
    device.post_letters(2);
    EXPECT_EQ(delivered(), 1U);
    queue.add({writable(16)});
    EXPECT_TRUE(queue.kick_wanted());
    device.kicked({0});
    EXPECT_EQ(delivered(), 1U);
}

TEST_P(LeavesBuffers, APauseLeavesThemThereToo) {
    activate();
    queue.add({writable(16)});
    bool quiesced = false;
    device.pause([&] { quiesced = true; });
    EXPECT_TRUE(quiesced);
    device.post_letters(1);
    EXPECT_EQ(delivered(), 0U);
    EXPECT_EQ(queue.device().in_flight(), 0U);
    device.resume();
    device.kicked({0});
    EXPECT_EQ(delivered(), 1U);
}

} // namespace
} // namespace aerate::virtio
