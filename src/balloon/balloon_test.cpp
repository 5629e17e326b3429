#include "balloon/balloon.hpp"
#include "balloon/counting_sink.hpp"
#include "balloon/testing/balloon_guest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aerate::balloon {
namespace {

using namespace testing;
using ::testing::ElementsAre;

struct BalloonTest : ::testing::Test, BalloonGuest {};

TEST(Balloon, Features) {
    FakeDriver fake;
    EventLoop loop;
    EXPECT_EQ(Balloon({}, fake.memory(), loop).offered_features().bits, 0b01'0010U);
    EXPECT_EQ(Balloon({.deflate_on_oom = true, .page_poison = false, .statistics = false}, fake.memory(), loop)
                  .offered_features()
                  .bits,
              0b00'0100U);
    EXPECT_EQ(Balloon(everything, fake.memory(), loop).offered_features().bits, 0b11'1010U);
}

TEST(Balloon, QueueSizes) {
    FakeDriver fake;
    EventLoop loop;
    const auto sizes = [&](const BalloonConfig& config) {
        const Balloon balloon(config, fake.memory(), loop);
        const auto span = balloon.queue_sizes();
        return std::vector(span.begin(), span.end());
    };
    EXPECT_THAT(sizes({.statistics = false}), ElementsAre(128, 128));
    EXPECT_THAT(sizes({}), ElementsAre(128, 128, 128));
    EXPECT_THAT(sizes(everything), ElementsAre(128, 128, 1024, 1024, 256));
    EXPECT_THAT(sizes({.free_page_reporting = true, .statistics = false}), ElementsAre(128, 128, 256, 0, 256));
}

TEST_F(BalloonTest, Target) {
    EXPECT_TRUE(balloon.set_target({100}));
    EXPECT_EQ(host.config_changes, 0U) << "no driver yet";
    start();
    EXPECT_EQ(config(0), 100U);
    EXPECT_TRUE(balloon.set_target({8192}));
    EXPECT_TRUE(balloon.set_target({8192}));
    EXPECT_EQ(host.config_changes, 1U);
    EXPECT_EQ(config(0), 8192U);
    const auto refused = balloon.set_target({8193});
    ASSERT_FALSE(refused.has_value());
    EXPECT_THAT(refused.error().message, ::testing::HasSubstr("balloon target"));
    EXPECT_EQ(balloon.target(), PageCount{8192});
    balloon.reset();
    EXPECT_EQ(balloon.target(), PageCount{8192}) << "the host's wish outlives the guest's driver";
}

TEST_F(BalloonTest, T5_ConfigWrites) {
    start();
    std::array<std::byte, 32> all{};
    std::ranges::fill(all, std::byte{0x5a});
    balloon.write_config(0, all, negotiated);
    EXPECT_EQ(config(0), 0U);
    EXPECT_EQ(config(4), 0x5a5a'5a5aU);
    EXPECT_EQ(config(8), 0U);
    EXPECT_EQ(config(12), 0U) << "after DRIVER_OK";
    balloon.write_config(5, std::span(all).first(1), negotiated);
    write_config(4, 0);
    balloon.write_config(5, std::span(all).first(1), negotiated);
    EXPECT_EQ(config(4), 0x5a00U);
    balloon.write_config(2, std::span(all).first(4), negotiated);
    EXPECT_EQ(config(4), 0x5a5aU);
    EXPECT_EQ(config(0), 0U);
    balloon.write_config(0xffff'fffe, all, negotiated);
    EXPECT_EQ(config(4), 0x5a5aU);
    balloon.write_config(1000, {}, negotiated);
}

TEST_F(BalloonTest, T5_ConfigReads) {
    ASSERT_TRUE(balloon.set_target({0x0102}));
    std::array<std::byte, 64> bytes{};
    std::ranges::fill(bytes, std::byte{0xff});
    balloon.read_config(0, bytes);
    EXPECT_EQ(bytes[0], std::byte{0x02});
    EXPECT_EQ(bytes[63], std::byte{0});
    std::ranges::fill(bytes, std::byte{0xff});
    balloon.read_config(0xffff'ffff, bytes);
    EXPECT_EQ(bytes[0], std::byte{0});
    balloon.read_config(1, std::span(bytes).first(2));
    EXPECT_EQ(bytes[0], std::byte{0x01});
}

TEST_F(BalloonTest, T5_PoisonValueNeedsItsFeature) {
    write_config(12, 7);
    EXPECT_EQ(config(12), 0U);
    negotiated = balloon.offered_features();
    write_config(12, 7);
    EXPECT_EQ(config(12), 7U);
    balloon.reset();
    EXPECT_EQ(config(12), 0U);
}

TEST_F(BalloonTest, B6_ActualLies) {
    ASSERT_TRUE(balloon.set_target({100}));
    start();
    for (const std::uint32_t lie : {0U, 0xffff'ffffU, 1U, 0U}) {
        write_config(4, lie);
        EXPECT_EQ(balloon.actual(), PageCount{lie});
        EXPECT_EQ(balloon.memory_state().ballooned, PageCount{0});
        EXPECT_LE(balloon.target(), PageCount{100}) << "a lie can lower it, as taking pages back does";
    }
}

TEST_F(BalloonTest, C16_TheTargetFollowsAGuestThatTakesMemoryBack) {
    start();
    ASSERT_TRUE(balloon.set_target({100}));
    write_config(4, 100);
    const unsigned changes = host.config_changes;
    write_config(4, 90);
    EXPECT_EQ(balloon.target(), PageCount{90});
    EXPECT_EQ(config(0), 90U) << "what the driver reads at the next config interrupt";
    EXPECT_EQ(host.config_changes, changes) << "it is not called to work while it takes memory back";
    EXPECT_EQ(balloon.counters().unasked_deflations, 1U);
    EXPECT_EQ(balloon.counters().taken_back, PageCount{10});
    EXPECT_TRUE(balloon.since_taken_back());
    write_config(4, 60);
    EXPECT_EQ(balloon.target(), PageCount{60});
    EXPECT_EQ(balloon.counters().taken_back, PageCount{40});
}

TEST_F(BalloonTest, C16_ADeflationThatWasAskedForIsNone) {
    start();
    ASSERT_TRUE(balloon.set_target({100}));
    write_config(4, 100);
    ASSERT_TRUE(balloon.set_target({10}));
    write_config(4, 60);
    write_config(4, 10);
    EXPECT_EQ(balloon.target(), PageCount{10});
    EXPECT_EQ(balloon.counters().unasked_deflations, 0U);
    EXPECT_FALSE(balloon.since_taken_back());
}

// Linux deflates all before it lets go of the device (virtballoon_remove).
TEST_F(BalloonTest, C16_ADriverThatGoesIsNotOutOfMemory) {
    start();
    ASSERT_TRUE(balloon.set_target({100}));
    write_config(4, 100);
    write_config(4, 0);
    balloon.reset();
    EXPECT_EQ(balloon.target(), PageCount{100}) << "which the next driver is asked for";
    EXPECT_FALSE(balloon.since_taken_back());
    start();
    EXPECT_EQ(config(0), 100U);
}

// The driver reads the target, leaves the balloon, and then says where it is: the target may have been raised between.
TEST_F(BalloonTest, C16_AGuestThatStillActsOnTheTargetBeforeHasTakenNothing) {
    start();
    ASSERT_TRUE(balloon.set_target({100}));
    write_config(4, 100);
    ASSERT_TRUE(balloon.set_target({10}));
    write_config(4, 60);
    ASSERT_TRUE(balloon.set_target({90}));
    write_config(4, 40);
    EXPECT_EQ(balloon.target(), PageCount{90});
    EXPECT_EQ(balloon.counters().unasked_deflations, 0U);
    // It has seen 90 now.
    write_config(4, 30);
    EXPECT_EQ(balloon.target(), PageCount{30});
}

TEST_F(BalloonTest, C16_NobodyInflatesRightAfter) {
    start();
    ASSERT_TRUE(balloon.set_target({100}));
    write_config(4, 100);
    write_config(4, 90);
    const auto refused = balloon.set_target({100});
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("the guest ran out of memory 0 s ago"), std::string::npos);
    EXPECT_TRUE(refused.error().message.ends_with(" s")) << "less than a MiB cannot be asked for";
    EXPECT_EQ(balloon.target(), PageCount{90});
    EXPECT_TRUE(balloon.set_target({90}));
    EXPECT_TRUE(balloon.set_target({50})) << "less is always welcome";
    EXPECT_TRUE(balloon.set_target({80})) << "it still has 90";
}

TEST_F(BalloonTest, C16_WhatTheBalloonStillHasCanBeAskedFor) {
    start();
    ASSERT_TRUE(balloon.set_target({600}));
    write_config(4, 600);
    write_config(4, 520);
    EXPECT_TRUE(balloon.set_target({600}).error().message.ends_with(" s, or ask for 2 MiB or less"));
    EXPECT_TRUE(balloon.set_target({512}));
}

TEST(BalloonAfterOom, C16_InflatesAgainAfterTheRest) {
    BalloonGuest guest({.deflate_on_oom = true, .rest_after_oom = {}});
    guest.start();
    ASSERT_TRUE(guest.balloon.set_target({100}));
    guest.write_config(4, 100);
    guest.write_config(4, 90);
    EXPECT_EQ(guest.balloon.target(), PageCount{90});
    EXPECT_TRUE(guest.balloon.set_target({100}));
}

TEST_F(BalloonTest, C16_ANewDriverHasTakenNothing) {
    start();
    ASSERT_TRUE(balloon.set_target({100}));
    write_config(4, 100);
    balloon.reset();
    start();
    write_config(4, 50);
    EXPECT_EQ(balloon.target(), PageCount{100});
    EXPECT_EQ(balloon.counters().unasked_deflations, 0U);
}

TEST_F(BalloonTest, KicksOfQueuesThatDoNotExist) {
    balloon.kicked({0});
    start(balloon.offered_features().with(feature::statistics, false));
    for (unsigned index = 0; index <= 0xffff; ++index)
        balloon.kicked({static_cast<std::uint16_t>(index)});
    EXPECT_TRUE(host.faults.empty());
}

TEST_F(BalloonTest, B19_EveryAcceptedSetFindsItsQueues) {
    constexpr std::uint32_t high = 0x10'0000;
    for (unsigned accepted = 0; accepted < 8; ++accepted) {
        SCOPED_TRACE(accepted);
        BalloonGuest guest;
        guest.start(guest.balloon.offered_features()
                        .with(feature::statistics, (accepted & 1U) != 0)
                        .with(feature::free_page_hinting, (accepted & 2U) != 0)
                        .with(feature::free_page_reporting, (accepted & 4U) != 0));
        EXPECT_EQ(guest.send(Queue::inflate, {frames({high})}), 0U);
        EXPECT_EQ(guest.balloon.memory_state().ballooned, PageCount{1});
        if ((accepted & 1U) != 0) {
            EXPECT_FALSE(guest.send(Queue::statistics, {readable(std::array<std::byte, 10>{})}).has_value());
            EXPECT_EQ(guest.balloon.statistics().latest().values[0], 0U);
        }
        if ((accepted & 2U) != 0) {
            CountingSink sink(PageBitmap(guest.fake.memory().address_space()));
            const CommandId id = guest.balloon.hinting().start(sink);
            EXPECT_EQ(guest.send(Queue::hinting, {readable(id.value), writable_at({4ULL << 30}, 4096)}), 0U);
            EXPECT_EQ(sink.unique(), PageCount{1});
            guest.balloon.hinting().done();
        }
        if ((accepted & 4U) != 0) {
            EXPECT_EQ(guest.send(Queue::reporting, {writable_at({(4ULL << 30) + 4096}, 4096)}), 0U);
            EXPECT_EQ(guest.balloon.memory_state().reported, PageCount{1});
        }
    }
}

TEST_F(BalloonTest, PackedRings) {
    start(balloon.offered_features(), packed_ring_with_events);
    EXPECT_EQ(send(Queue::inflate, {frames({0x10'0000, 0x10'0001})}), 0U);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{2});
}

TEST_F(BalloonTest, ABrokenRingNeedsAReset) {
    start();
    // The available index jumps by more than the ring is long.
    const auto registers = queue(Queue::inflate).registers();
    ASSERT_TRUE(fake.memory().store<std::uint16_t>(*registers.driver.plus(ByteCount{2}), 1000));
    kick(Queue::inflate);
    ASSERT_EQ(host.faults.size(), 1U);
    EXPECT_EQ(host.faults[0].queue, index(Queue::inflate));
    EXPECT_EQ(balloon.counters().ring_faults, 1U);
    kick(Queue::inflate);
    EXPECT_EQ(send(Queue::deflate, {frames({1})}), std::nullopt);
    EXPECT_EQ(host.faults.size(), 1U);
    balloon.reset();
    start();
    EXPECT_EQ(send(Queue::inflate, {frames({0x10'0000})}), 0U);
}

TEST_F(BalloonTest, NothingIsServedWhilePaused) {
    start();
    fill({{0x10'0000}, {1}});
    bool quiesced = false;
    balloon.pause([&] { quiesced = true; });
    EXPECT_TRUE(quiesced);
    EXPECT_EQ(send(Queue::inflate, {frames({0x10'0000})}), std::nullopt);
    EXPECT_EQ(send(Queue::reporting, {writable_at({4ULL << 30}, 4096)}), std::nullopt);
    EXPECT_EQ(first_byte({0x10'0000}), 0xaaU);
    EXPECT_EQ(config(0), 0U);
    balloon.resume();
    for (const auto again : host.kicks_again)
        balloon.kicked(again);
    EXPECT_TRUE(queue(Queue::inflate).take_used());
    EXPECT_TRUE(queue(Queue::reporting).take_used());
    EXPECT_EQ(first_byte({0x10'0000}), 0U);
}

TEST_F(BalloonTest, T4_ResetWhilePaused) {
    start();
    balloon.pause([] {});
    balloon.reset();
    balloon.resume();
    EXPECT_TRUE(host.kicks_again.empty());
}

TEST(Counters, EveryReasonHasAName) {
    for (std::size_t i = 0; i < skip_reasons; ++i)
        EXPECT_FALSE(describe(static_cast<SkipReason>(i)).empty());
}

} // namespace
} // namespace aerate::balloon
