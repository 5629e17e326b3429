// Kicks, resets and pauses as a guest sees them: the T cases of docs/hostile-inputs.md, by number.
#include "virtio/testing/mmio_test.hpp"
#include "virtio/testing/raw_ring.hpp"

#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <vector>

namespace aerate::virtio {
namespace {

using namespace testing;

TEST_F(Mmio, ServesAQueueByDoorbellAndByEventFd) {
    for (const FeatureSet features : {split_ring, split_ring_with_events, packed_ring, packed_ring_with_events}) {
        FakeQueue queue = start(features, 2);
        EXPECT_EQ(status(), runs);
        queue.add({readable(std::uint32_t{42}), writable(4)});
        write(reg::queue_notify, 2);
        settle();
        EXPECT_TRUE(interrupt_.drain());
        EXPECT_EQ(read(reg::interrupt_status), interrupt_reason::used_buffer);
        write(reg::interrupt_ack, interrupt_reason::used_buffer);
        EXPECT_EQ(read(reg::interrupt_status), 0U);
        const auto used = queue.take_used();
        ASSERT_TRUE(used);
        EXPECT_EQ(used->bytes[0], std::byte{42});

        queue.add({writable(4)});
        transport_->kick({2}).signal();
        settle();
        EXPECT_TRUE(queue.take_used());
        EXPECT_EQ(on_loop([&] { return device_.active_features; }), features);
    }
}

TEST_F(Mmio, R21_KicksAtTheWrongTime) {
    write(reg::queue_notify, 0); // before anything
    FakeQueue queue = start();
    for (int i = 0; i < 10'000; ++i)
        write(reg::queue_notify, 0);
    write(reg::queue_notify, 3);           // no such queue
    write(reg::queue_notify, 0xffff'ffff); // neither
    settle();
    EXPECT_EQ(ignored(), 2U);
    write(reg::status, 0);
    const unsigned kicks = on_loop([&] { return device_.kicks; });
    for (int i = 0; i < 100; ++i)
        write(reg::queue_notify, 0);
    settle();
    EXPECT_EQ(on_loop([&] { return device_.kicks; }), kicks) << "after a reset";
}

TEST_F(Mmio, T4_NothingFollowsAReset) {
    FakeQueue queue = start();
    const RawSplitRing raw(fake_.memory(), queue.registers());
    queue.add({writable(4)});
    // The reset comes between the kick and its turn, and between kick_again() and its turn.
    on_loop([&] {
        device_.again_while_kicked = true;
        transport_->kick_again({0});
        write(reg::status, 0);
    });
    settle();
    EXPECT_EQ(raw.used_index(), 0);
    EXPECT_EQ(status(), 0);
    EXPECT_EQ(read(reg::interrupt_status), 0U);
    EXPECT_EQ(read(reg::queue_ready), 0U);
    EXPECT_FALSE(interrupt_.drain());
    EXPECT_EQ(on_loop([&] { return device_.resets; }), 2U);
    // And the next life works.
    FakeQueue again = start();
    again.add({writable(4)});
    write(reg::queue_notify, 0);
    settle();
    EXPECT_TRUE(again.take_used());
}

TEST_F(Mmio, KickAgainComesBack) {
    FakeQueue queue = start();
    on_loop([&] { device_.again_while_kicked = true; });
    write(reg::queue_notify, 0);
    settle();
    EXPECT_EQ(on_loop([&] { return device_.kicks; }), 2U);
}

TEST_F(Mmio, T6_ConfigChangesAreSeenByGenerationAndInterrupt) {
    const std::uint32_t generation = read(reg::config_generation);
    on_loop([&] { transport_->config_changed(); });
    EXPECT_EQ(read(reg::config_generation), generation + 1);
    EXPECT_FALSE(interrupt_.drain()) << "nobody listens yet";
    start();
    on_loop([&] { transport_->config_changed(); });
    EXPECT_EQ(read(reg::config_generation), generation + 2);
    EXPECT_TRUE(interrupt_.drain());
    EXPECT_EQ(read(reg::interrupt_status), interrupt_reason::config_change);
}

TEST_F(Mmio, T7_ManyVcpusAtOnce) {
    FakeQueue queue = start();
    std::vector<std::thread> vcpus;
    for (unsigned vcpu = 0; vcpu < 4; ++vcpu) {
        vcpus.emplace_back([this, vcpu] {
            for (unsigned i = 0; i < 500; ++i) {
                write(reg::queue_notify, 0);
                write(reg::queue_select, i % 5);
                (void)read(reg::status);
                write(reg::interrupt_ack, 3);
                (void)read(reg::interrupt_status);
                if (vcpu == 0 && i % 100 == 99)
                    start();
                (void)transport_->counters();
            }
        });
    }
    for (auto& vcpu : vcpus)
        vcpu.join();
    write(reg::status, 0);
    EXPECT_EQ(status(), 0);
}

TEST_F(Mmio, ABrokenRingStopsThisDeviceUntilReset) {
    FakeQueue queue = start();
    RawSplitRing(fake_.memory(), queue.registers()).available_index(1000);
    write(reg::queue_notify, 0);
    settle();
    EXPECT_EQ(status(), runs | needs_reset);
    EXPECT_TRUE(interrupt_.drain());
    EXPECT_EQ(read(reg::interrupt_status), interrupt_reason::config_change);
    const auto counters = transport_->counters();
    EXPECT_EQ(counters.needs_reset, 1U);
    EXPECT_EQ(counters.ring_faults[static_cast<std::size_t>(RingFault::available_jumped)], 1U);

    const unsigned kicks = on_loop([&] { return device_.kicks; });
    write(reg::queue_notify, 0);
    write(reg::status, runs | needs_reset); // what a driver that adds a bit would write
    on_loop([&] { transport_->interrupt_queue({0}); });
    settle();
    EXPECT_EQ(on_loop([&] { return device_.kicks; }), kicks);
    EXPECT_EQ(read(reg::interrupt_status), interrupt_reason::config_change);

    FakeQueue again = start();
    EXPECT_EQ(status(), runs);
    again.add({writable(4)});
    write(reg::queue_notify, 0);
    settle();
    EXPECT_TRUE(again.take_used());
}

TEST_F(Mmio, PauseServesNothingAndResumeLosesNoKick) {
    FakeQueue queue = start();
    bool quiet = false;
    on_loop([&] { transport_->pause([&] { quiet = true; }); });
    EXPECT_TRUE(quiet);
    queue.add({writable(4)});
    write(reg::queue_notify, 0);
    on_loop([&] { transport_->kick_again({0}); });
    settle();
    EXPECT_FALSE(queue.take_used());
    (void)transport_->kick({0}).drain(); // as if it had got lost
    on_loop([&] { transport_->resume(); });
    settle();
    EXPECT_TRUE(queue.take_used());
}

TEST_F(Mmio, PauseBeforeDriverOkHoldsFromTheStart) {
    bool quiet = false;
    on_loop([&] { transport_->pause([&] { quiet = true; }); });
    EXPECT_TRUE(quiet);
    FakeQueue queue = start();
    queue.add({writable(4)});
    write(reg::queue_notify, 0);
    settle();
    EXPECT_FALSE(queue.take_used());
    on_loop([&] { transport_->resume(); });
    settle();
    EXPECT_TRUE(queue.take_used());
}

TEST_F(Mmio, OffersOnlyWhatItsOptionsSay) {
    const auto plain =
        MmioTransport::create(device_, fake_.memory(), loop_, interrupt_,
                              {.offer_packed = false, .offer_event_index = false, .offer_indirect = false})
            .value();
    std::array<std::byte, 4> bytes{};
    plain->read({reg::device_features}, bytes);
    EXPECT_EQ(load_little_endian<std::uint32_t>(bytes), 1U << EchoDevice::feature_bit);
}

} // namespace
} // namespace aerate::virtio
