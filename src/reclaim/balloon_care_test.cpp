#include "balloon/config_space.hpp"
#include "balloon/testing/balloon_guest.hpp"
#include "reclaim/balloon_care.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <utility>
#include <vector>

namespace aerate {
namespace {

using namespace literals;
using namespace std::chrono_literals;
using ::testing::HasSubstr;

/// A guest of 32 MiB, whose balloon is looked after.
class Care : public ::testing::Test {
protected:
    Care() { guest_.start(); }

    [[nodiscard]] static PageCount mib(std::uint64_t count) { return whole_pages_of(ByteCount{count << 20}); }
    void actual_is(std::uint64_t pages) {
        guest_.write_config(balloon::config_space::actual, static_cast<std::uint32_t>(pages));
    }
    void run_for(std::chrono::milliseconds time) { guest_.run_loop(time); }
    void say(std::initializer_list<std::pair<std::size_t, std::uint64_t>> values) {
        std::vector<std::byte> bytes(values.size() * 10);
        std::size_t at = 0;
        for (const auto& [tag, value] : values) {
            store_little_endian(std::span(bytes).subspan(at), static_cast<std::uint16_t>(tag));
            store_little_endian(std::span(bytes).subspan(at + 2), value);
            at += 10;
        }
        guest_.balloon.statistics().return_buffer();
        guest_.send(balloon::Queue::statistics, {virtio::testing::readable(std::span<const std::byte>(bytes))});
    }
    BalloonNews all_news() {
        BalloonNews all;
        for (const BalloonNews& news : news_) {
            all.target_reached |= news.target_reached;
            all.taken_back += news.taken_back;
            all.relieved |= news.relieved;
            all.oom_kills += news.oom_kills;
            all.alloc_stalls += news.alloc_stalls;
            all.permit_lapsed |= news.permit_lapsed;
            all.statistics |= news.statistics;
        }
        return all;
    }

    balloon::testing::BalloonGuest guest_;
    balloon::Balloon& balloon_ = guest_.balloon;
    const std::uint64_t size_ = guest_.fake.memory().size().value;
    std::vector<BalloonNews> news_;
    unsigned others_ended_ = 0;
    BalloonCare care_{guest_.loop, guest_.fake.memory(), balloon_, [this] { ++others_ended_; },
                      [this](const BalloonNews& news) { news_.push_back(news); }};
};

TEST_F(Care, ATargetAboveActualLastsAsLongAsItsPermit) {
    ASSERT_TRUE(care_.permit({1000}, 50ms, {}));
    actual_is(400);
    EXPECT_TRUE(care_.permit_left());
    run_for(120ms);
    EXPECT_EQ(balloon_.target(), PageCount{400}) << "nothing more is taken, and nothing is given back";
    EXPECT_EQ(care_.permits_lapsed(), 1U);
    EXPECT_FALSE(care_.permit_left());
    EXPECT_TRUE(all_news().permit_lapsed);
    EXPECT_EQ(others_ended_, 1U);
}

TEST_F(Care, APermitIsRenewedByEachCall) {
    ASSERT_TRUE(care_.permit({1000}, 50ms, {}));
    ASSERT_TRUE(care_.permit({1000}, 10s, {}));
    run_for(120ms);
    EXPECT_EQ(balloon_.target(), PageCount{1000});
    EXPECT_EQ(care_.permits_lapsed(), 0U);
}

TEST_F(Care, TheOperatorsTargetNeedsNoPermit) {
    ASSERT_TRUE(care_.permit({1000}, 50ms, {}));
    ASSERT_TRUE(balloon_.set_target({2000}));
    care_.operator_has_spoken();
    run_for(120ms);
    EXPECT_EQ(balloon_.target(), PageCount{2000});
    EXPECT_EQ(care_.permits_lapsed(), 0U);
    EXPECT_TRUE(care_.permit({500}, 1s, {})) << "the policy may speak after the operator";
    EXPECT_EQ(balloon_.target(), PageCount{500});
}

TEST_F(Care, NoPermitTakesAGuestBelowItsFloor) {
    const PageCount ram = whole_pages_of({size_});
    const auto refused = care_.permit(ram, 1s, {size_ / 4});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("memory floor"));
    EXPECT_EQ(balloon_.target(), PageCount{});
    EXPECT_FALSE(care_.permit_left());
    EXPECT_TRUE(care_.permit({ram.value / 4 * 3}, 1s, {size_ / 4}));
    EXPECT_FALSE(care_.permit({1}, 1s, {size_ * 2})) << "a floor above the size allows nothing";
}

// The policy watches this guest, and not the one that comes next, by a reset or from a snapshot.
TEST_F(Care, APolicysTargetIsNotHandedOn) {
    ASSERT_TRUE(care_.permit({1000}, 10s, {}));
    actual_is(400);
    EXPECT_EQ(balloon_.state().target, 400U);
    balloon_.reset();
    EXPECT_EQ(balloon_.target(), PageCount{});
}

TEST_F(Care, Story8_AGuestThatTakesPagesBackGetsMoreWithinAMoment) {
    ASSERT_TRUE(balloon_.set_target(mib(30)));
    actual_is(mib(30).value);
    const unsigned interrupts = guest_.host.config_changes;
    actual_is(mib(29).value);
    EXPECT_EQ(balloon_.target(), mib(29)) << "at once";
    actual_is(mib(28).value);
    run_for(20ms);
    EXPECT_LE(balloon_.target(), PageCount{mib(28).value / 4 * 3}) << "a quarter of what there is, at least";
    EXPECT_GT(guest_.host.config_changes, interrupts) << "the driver is told";
    run_for(50ms);
    const BalloonNews all = all_news();
    EXPECT_EQ(all.taken_back, mib(2));
    EXPECT_TRUE(all.relieved);
}

TEST_F(Care, Story4_WhatIsGivenCountsFromWhatTheBalloonHas) {
    ASSERT_TRUE(care_.permit(whole_pages_of({size_ / 4 * 3}), 10s, {size_ / 4}));
    actual_is(mib(20).value); // far from the target
    actual_is(mib(19).value); // it acts on the target, and ran out
    ASSERT_EQ(balloon_.target(), mib(19));
    run_for(30ms);
    EXPECT_LT(balloon_.target(), mib(19));
}

TEST_F(Care, C16_ADriverThatGoesLeavesTheTargetToTheNext) {
    ASSERT_TRUE(balloon_.set_target(mib(30)));
    actual_is(mib(30).value);
    actual_is(0);
    balloon_.reset();
    run_for(60ms);
    EXPECT_EQ(balloon_.target(), mib(30));
    EXPECT_FALSE(all_news().relieved);
}

TEST_F(Care, AGuestThatDeflatesAsItWasAskedIsLeftAlone) {
    ASSERT_TRUE(balloon_.set_target(mib(30)));
    actual_is(mib(30).value);
    ASSERT_TRUE(balloon_.set_target(mib(24)));
    actual_is(mib(28).value);
    actual_is(mib(24).value);
    run_for(60ms);
    EXPECT_EQ(balloon_.target(), mib(24));
    EXPECT_FALSE(all_news().relieved);
    EXPECT_TRUE(all_news().target_reached);
}

TEST_F(Care, StatisticsAreToldWithWhatGrew) {
    say({{balloon::statistic::oom_kill, 3}, {balloon::statistic::alloc_stall, 10}});
    run_for(30ms);
    EXPECT_TRUE(all_news().statistics);
    EXPECT_EQ(all_news().alloc_stalls, 0U) << "what was before counts for nothing";
    say({{balloon::statistic::oom_kill, 4}, {balloon::statistic::alloc_stall, 17}});
    say({{balloon::statistic::oom_kill, 1}, {balloon::statistic::alloc_stall, 18}}); // a kernel begins anew, or lies
    run_for(30ms);
    EXPECT_EQ(all_news().oom_kills, 1U);
    EXPECT_EQ(all_news().alloc_stalls, 8U);
}

// A guest may write `actual` as often as it likes.
TEST_F(Care, C16_NewsAreFewWhateverTheGuestDoes) {
    ASSERT_TRUE(balloon_.set_target({100}));
    for (unsigned round = 0; round < 1000; ++round)
        actual_is(round % 100);
    run_for(100ms);
    EXPECT_LE(news_.size(), 7U);
}

} // namespace
} // namespace aerate
