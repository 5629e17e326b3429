#include "guestkit/testing/virtual_transport.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace aerate::guestkit {
namespace {

using testing::VirtualGuest;

/// Writes down what it is told.
struct Sink final : HintSink {
    std::vector<PageRange> ranges;
    bool ended = false;
    void hinted(PageRange range) override { ranges.push_back(range); }
    void round_ended(RoundEnd) override { ended = true; }
    [[nodiscard]] PageCount pages() const {
        PageCount total;
        for (const PageRange& range : ranges)
            total += range.count;
        return total;
    }
};

TEST(BalloonDriver, NegotiatesOnlyWhatItKnows) {
    const VirtualGuest<> guest;
    ASSERT_TRUE(guest.driver);
    EXPECT_EQ(guest.driver->negotiated().bits & 0xff'ffffU, 0b10'1010U);
    EXPECT_TRUE(guest.driver->negotiated().has(virtio::feature::version_1));
    const VirtualGuest<> poisoned({.poison = 0xaaaaaaaa});
    EXPECT_TRUE(poisoned.driver->negotiated().has(balloon::feature::page_poison));
}

TEST(BalloonDriver, EveryFeatureSetFindsItsQueues) {
    for (std::uint64_t features = 0; features < 64; ++features) {
        SCOPED_TRACE(features);
        VirtualGuest<> guest({.features = {features}});
        ASSERT_TRUE(guest.driver);
        ASSERT_TRUE(guest.balloon.set_target({1000}));
        Sink sink;
        const bool hints = guest.driver->negotiated().has(balloon::feature::free_page_hinting);
        EXPECT_EQ(guest.balloon.hinting().start(sink) != CommandId{}, hints);
        guest.run();
        EXPECT_EQ(guest.balloon.memory_state().ballooned, PageCount{1000});
        EXPECT_EQ(sink.ended, hints);
        EXPECT_EQ(guest.balloon.memory_state().reported.value > 0,
                  guest.driver->negotiated().has(balloon::feature::free_page_reporting));
        EXPECT_TRUE(guest.transport.host.faults.empty());
    }
}

TEST(BalloonDriver, InflatesAndDeflatesToTheTarget) {
    VirtualGuest<> guest;
    const PageCount before = guest.allocator.free_pages();
    for (const std::uint64_t target : {5000U, 300U, 301U, 0U, 10000U, 0U}) {
        ASSERT_TRUE(guest.balloon.set_target({target}));
        guest.run();
        EXPECT_EQ(guest.balloon.memory_state().ballooned, PageCount{target});
        EXPECT_EQ(guest.balloon.actual(), PageCount{target});
        EXPECT_EQ(guest.allocator.free_pages() + PageCount{target}, before);
    }
}

TEST(BalloonDriver, InflatesNoFurtherThanTheReserve) {
    VirtualGuest<> guest;
    ASSERT_TRUE(guest.balloon.set_target(whole_pages_of(testing::guest_ram)));
    guest.run();
    EXPECT_EQ(guest.allocator.free_pages(), guest.zone.watermarks().min);
}

TEST(BalloonDriver, TakesPagesBackWhenMemoryIsShort) {
    VirtualGuest<> guest({}, {.deflate_on_oom = true});
    ASSERT_TRUE(guest.balloon.set_target({20000}));
    guest.run();
    EXPECT_EQ(guest.driver->relieve({600}), PageCount{0}) << "the host must hear of it first";
    guest.run();
    EXPECT_EQ(guest.balloon.actual(), PageCount{19400});
}

TEST(BalloonDriver, DoesNotTakePagesBackUnlessAllowed) {
    VirtualGuest<> guest({}, {.deflate_on_oom = false});
    ASSERT_TRUE(guest.balloon.set_target({20000}));
    guest.run();
    guest.driver->relieve({600});
    guest.run();
    EXPECT_EQ(guest.balloon.actual(), PageCount{20000});
}

TEST(BalloonDriver, AnswersForStatistics) {
    VirtualGuest<> guest;
    guest.run();
    bool answered = false;
    guest.balloon.statistics().request([&](const Result<balloon::GuestStatistics>& answer) {
        ASSERT_TRUE(answer);
        answered = true;
        EXPECT_EQ(answer->values[4], bytes_of(guest.allocator.free_pages()).value);
        EXPECT_EQ(answer->values[5], testing::guest_ram.value);
    });
    guest.run();
    EXPECT_TRUE(answered);
}

TEST(BalloonDriver, ReportsAllThatIsFreeOnce) {
    VirtualGuest<> guest;
    guest.run();
    const PageCount reported = guest.balloon.memory_state().reported;
    EXPECT_GT(reported, PageCount{31000});
    EXPECT_EQ(guest.allocator.reported_pages(), reported);
    EXPECT_EQ(guest.driver->reporting()->reported(), reported);
    guest.run();
    EXPECT_EQ(guest.driver->reporting()->reported(), reported);
}

TEST(BalloonDriver, ReportedBlocksAreNobodysUntilTheyAreUsed) {
    VirtualGuest<> guest;
    const PageCount before = guest.allocator.free_pages();
    guest.driver->poll();
    const PageCount during = guest.allocator.free_pages();
    EXPECT_LT(during, before);
    EXPECT_GE(during, guest.zone.watermarks().low);
    guest.driver->poll();
    EXPECT_EQ(guest.allocator.free_pages(), during) << "the device has not run";
}

template <typename Ring>
void hint_everything(Behaviour behaviour, virtio::FeatureSet ring) {
    VirtualGuest<Ring> guest({.behaviour = behaviour},
                             {.free_page_hinting = true, .free_page_reporting = false, .statistics = false}, ring);
    ASSERT_TRUE(guest.driver);
    const PageCount before = guest.allocator.free_pages();
    for (unsigned round = 0; round < 3; ++round) {
        SCOPED_TRACE(round);
        Sink sink;
        guest.balloon.hinting().start(sink);
        guest.run();
        EXPECT_TRUE(sink.ended);
        EXPECT_GT(sink.pages(), PageCount{30000});
        EXPECT_LE(sink.pages(), before);
        guest.balloon.hinting().done();
        guest.run();
        EXPECT_EQ(guest.allocator.free_pages(), before) << "after DONE nothing is held";
    }
    EXPECT_EQ(guest.balloon.counters().hint_rounds_cut, 0U);
}

TEST(Hinting, HonestDriversHintAllThatTheyCan) {
    for (const Behaviour behaviour : {Behaviour::hold_until_used, Behaviour::stock_linux, Behaviour::wait_on_ack}) {
        SCOPED_TRACE(static_cast<int>(behaviour));
        hint_everything<virtio::SplitDriver>(behaviour, virtio::testing::split_ring);
        hint_everything<virtio::SplitDriver>(behaviour, virtio::testing::split_ring_with_events);
        hint_everything<virtio::PackedDriver>(behaviour, virtio::testing::packed_ring);
        hint_everything<virtio::PackedDriver>(behaviour, virtio::testing::packed_ring_with_events);
    }
}

constexpr balloon::BalloonConfig only_hinting{
    .free_page_hinting = true, .free_page_reporting = false, .statistics = false};

TEST(Hinting, HoldUntilUsedNeverDrainsTheAllocator) {
    VirtualGuest<> guest({.behaviour = Behaviour::hold_until_used, .hint_order = {9}}, only_hinting);
    Sink sink;
    guest.balloon.hinting().start(sink);
    PageCount least = guest.allocator.free_pages();
    guest.config_changed();
    for (unsigned i = 0; i < 100; ++i) {
        guest.driver->poll();
        least = std::min(least, guest.allocator.free_pages());
        if (i % 2 == 1)
            guest.transport.run_device();
    }
    EXPECT_TRUE(sink.ended);
    EXPECT_GE(least, guest.zone.watermarks().low);
}

TEST(Hinting, StockLinuxDrainsItAndShrinksBeforeTheHostHasSeenTheHint) {
    VirtualGuest<> guest({.behaviour = Behaviour::stock_linux}, only_hinting);
    Sink sink;
    guest.balloon.hinting().start(sink);
    guest.config_changed();
    guest.driver->poll();
    EXPECT_LT(guest.allocator.free_pages(), PageCount{1024});
    const PageCount hoarded = guest.driver->hinting()->hoarded();
    EXPECT_GT(hoarded, PageCount{30000});
    EXPECT_EQ(guest.driver->relieve({1}), pages_of(max_order)) << "though the host has seen none of it";
    EXPECT_TRUE(sink.ranges.empty());
    guest.transport.run_device();
    EXPECT_EQ(sink.pages(), hoarded);
}

TEST(Hinting, WaitOnAckHasOneBufferInFlight) {
    VirtualGuest<> guest({.behaviour = Behaviour::wait_on_ack}, only_hinting);
    Sink sink;
    guest.balloon.hinting().start(sink);
    guest.config_changed();
    for (unsigned i = 0; i < 4; ++i)
        guest.driver->poll();
    guest.transport.run_device();
    EXPECT_TRUE(sink.ranges.empty()) << "the start command comes first, alone";
    for (std::size_t blocks = 1; blocks < 4; ++blocks) {
        for (unsigned i = 0; i < 4; ++i)
            guest.driver->poll();
        guest.transport.run_device();
        EXPECT_EQ(sink.ranges.size(), blocks);
    }
}

/// A start command that is read late. Linux's shows the newest ID then; one word a command does not.
TEST(Hinting, StartCommandsOfStockLinuxShareTheirWord) {
    for (const bool stock : {true, false}) {
        VirtualGuest<> guest({.behaviour = stock ? Behaviour::stock_linux : Behaviour::hold_until_used}, only_hinting);
        Sink first;
        guest.balloon.hinting().start(first);
        guest.config_changed();
        guest.driver->poll();
        Sink second;
        guest.balloon.hinting().start(second);
        guest.config_changed();
        guest.driver->poll();
        EXPECT_TRUE(first.ranges.empty());
        guest.transport.run_device();
        // Even so the device counts nothing that was in the queue when the ID was published.
        EXPECT_GT(guest.balloon.counters().stale_hint_chains, 1U);
    }
}

TEST(Hinting, TheWrongOnesGetNothingBelieved) {
    for (const Behaviour behaviour : {Behaviour::hints_without_id, Behaviour::stale_id}) {
        VirtualGuest<> guest({.behaviour = behaviour}, only_hinting);
        for (unsigned round = 0; round < 3; ++round) {
            Sink sink;
            guest.balloon.hinting().start(sink);
            guest.run();
            EXPECT_TRUE(sink.ranges.empty());
            guest.balloon.hinting().done();
            guest.run();
        }
        EXPECT_TRUE(guest.transport.host.faults.empty());
    }
}

TEST(Hinting, ReusesAtOnceHoldsNothing) {
    VirtualGuest<> guest({.behaviour = Behaviour::reuses_at_once}, only_hinting);
    const PageCount before = guest.allocator.free_pages();
    Sink sink;
    guest.balloon.hinting().start(sink);
    guest.config_changed();
    guest.driver->poll();
    EXPECT_EQ(guest.allocator.free_pages(), before);
    guest.run();
    EXPECT_TRUE(sink.ended);
}

TEST(Reporting, WritesAfterReportWrites) {
    VirtualGuest<> guest({.behaviour = Behaviour::writes_after_report});
    guest.driver->poll();
    const auto* const first_reported = guest.transport.page({1024});
    EXPECT_EQ(*first_reported, std::byte{0x5a});
    guest.transport.run_device();
    EXPECT_EQ(*first_reported, std::byte{0});
}

TEST(Policy, EveryNameIsABehaviour) {
    for (const NamedBehaviour& named : behaviours)
        EXPECT_EQ(behaviour_named(named.name), named.behaviour);
    EXPECT_EQ(behaviour_named("linux"), std::nullopt);
}

} // namespace
} // namespace aerate::guestkit
