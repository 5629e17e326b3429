#include "entropy/entropy.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <algorithm>

namespace aerate {
namespace {

using namespace virtio::testing;

class EntropyTest : public testing::TestWithParam<virtio::FeatureSet> {
protected:
    void activate() {
        virtio::Virtqueue* const queues[] = {&queue.device()};
        device.activate({GetParam(), queues, &host});
    }
    FakeDriver fake;
    FakeQueue queue = fake.queue(Entropy::queue_size, GetParam());
    FakeHost host;
    EventLoop loop;
    Entropy device{loop, fake.memory()};
};

INSTANTIATE_TEST_SUITE_P(Rings, EntropyTest, testing::Values(split_ring, packed_ring_with_events));

TEST_P(EntropyTest, FillsBuffersWithDifferentBytesEachTime) {
    activate();
    queue.add({writable(64), writable(0), writable(5000)});
    queue.add({writable(64)});
    device.kicked({0});
    const auto first = queue.take_used();
    const auto second = queue.take_used();
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->written, 5064U);
    EXPECT_EQ(second->written, 64U);
    EXPECT_FALSE(std::ranges::equal(second->bytes, std::span(first->bytes).first(64)));
    EXPECT_EQ(host.interrupts.size(), 1U);
    EXPECT_TRUE(host.faults.empty());
}

TEST_P(EntropyTest, R9_AHugeBufferGetsNoMoreThanTheLimit) {
    activate();
    queue.add({writable(1U << 20)});
    device.kicked({0});
    const auto used = queue.take_used();
    ASSERT_TRUE(used);
    EXPECT_EQ(used->written, Entropy::chain_limit.value);
    EXPECT_EQ(std::ranges::count(std::span(used->bytes).subspan(Entropy::chain_limit.value), std::byte{0}),
              static_cast<std::ptrdiff_t>((1U << 20) - Entropy::chain_limit.value));
}

TEST_P(EntropyTest, R11_AKickCostsABoundedNumberOfBytes) {
    activate();
    for (unsigned i = 0; i < 8; ++i)
        queue.add({writable(64U << 10)});
    device.kicked({0});
    EXPECT_EQ(device.delivered(), Entropy::kick_limit);
    ASSERT_EQ(host.kicks_again.size(), 1U);
    device.kicked({0});
    EXPECT_EQ(queue.device().completed(), 8U);
}

TEST_P(EntropyTest, R7_R15_BuffersOutsideMemoryOrReadableAreReturnedEmpty) {
    activate();
    queue.add({writable_at({1ULL << 40}, 64)});
    queue.add({writable_at({~0ULL - 8}, 64)});
    queue.add({readable(std::uint32_t{1})});
    device.kicked({0});
    for (int i = 0; i < 3; ++i) {
        const auto used = queue.take_used();
        ASSERT_TRUE(used);
        EXPECT_EQ(used->written, 0U);
    }
    EXPECT_TRUE(host.faults.empty());
}

TEST_P(EntropyTest, R21_KicksBeforeActivationAfterResetAndForOtherQueuesAreIgnored) {
    queue.add({writable(16)});
    device.kicked({0});
    activate();
    device.kicked({7});
    device.reset();
    device.kicked({0});
    EXPECT_FALSE(queue.take_used());
}

TEST_P(EntropyTest, ALimiterMakesItWaitAndItsStateIsSaved) {
    using namespace std::chrono_literals;
    const protocol::RateLimits limits{.bandwidth = protocol::TokenBucketLimit{100, 0, 100ms}};
    Entropy limited(loop, fake.memory(), limits);
    virtio::Virtqueue* const queues[] = {&queue.device()};
    limited.activate({GetParam(), queues, &host});
    queue.add({writable(64)});
    queue.add({writable(64)});
    limited.kicked({0});
    EXPECT_TRUE(queue.take_used());
    EXPECT_FALSE(queue.take_used());
    EXPECT_EQ(queue.device().in_flight(), 0) << "the guest's buffer is back in its ring";
    EXPECT_TRUE(host.kicks_again.empty()) << "a timer wakes it";
    limited.kicked({0});
    EXPECT_FALSE(queue.take_used());

    const auto saved = limited.save();
    EXPECT_EQ(saved.version, 1U);
    Entropy restored(loop, fake.memory(), limits);
    EXPECT_TRUE(restored.restore(saved));
    EXPECT_FALSE(restored.restore({.version = 1, .bytes = {std::byte{1}}}));
    EXPECT_FALSE(restored.restore({.version = 2, .bytes = {}}));

    for (int i = 0; i < 500 && queue.device().completed() < 2; ++i)
        loop.context().run_for(1ms);
    EXPECT_TRUE(queue.take_used());
}

TEST_P(EntropyTest, PauseTakesNothingAndResumeAsksForAKick) {
    activate();
    bool quiesced = false;
    device.pause([&] { quiesced = true; });
    EXPECT_TRUE(quiesced);
    queue.add({writable(16)});
    device.kicked({0});
    EXPECT_FALSE(queue.take_used());
    device.resume();
    ASSERT_EQ(host.kicks_again.size(), 1U);
    device.kicked({0});
    EXPECT_TRUE(queue.take_used());
}

} // namespace
} // namespace aerate
