#include "protocol/hint_tracker.hpp"

#include <gtest/gtest.h>

namespace aerate::protocol {
namespace {

using Phase = HintTracker::Phase;
using Command = HintTracker::CommandVerdict;
using Hint = HintTracker::HintVerdict;

constexpr PageCount plenty{1000};

TEST(HintTracker, ARound) {
    HintTracker tracker;
    EXPECT_EQ(tracker.config_value(), 0U);
    EXPECT_EQ(tracker.publish(0, plenty), CommandId{2});
    EXPECT_EQ(tracker.config_value(), 2U);
    EXPECT_EQ(tracker.command(2), Command::begins);
    EXPECT_EQ(tracker.config_value(), 2U) << "a guest that looks again must find the round still open";
    EXPECT_EQ(tracker.hint({10}), Hint::accepted);
    EXPECT_EQ(tracker.command(0), Command::ends);
    EXPECT_EQ(tracker.hint({10}), Hint::not_current);
    EXPECT_EQ(tracker.config_value(), 0U);
    tracker.done();
    EXPECT_EQ(tracker.config_value(), 1U);
}

TEST(HintTracker, B11_HintsOnlyAfterTheCurrentCommand) {
    HintTracker tracker;
    EXPECT_EQ(tracker.hint({1}), Hint::not_current);
    EXPECT_EQ(tracker.command(2), Command::unknown) << "an ID that is not issued yet";
    ASSERT_EQ(tracker.publish(0, plenty), CommandId{2});
    EXPECT_EQ(tracker.hint({1}), Hint::not_current);
    EXPECT_EQ(tracker.command(3), Command::unknown);
    EXPECT_EQ(tracker.hint({1}), Hint::not_current);
    EXPECT_EQ(tracker.command(0), Command::unexpected_stop);
    EXPECT_EQ(tracker.command(1), Command::unexpected_stop);
    EXPECT_EQ(tracker.hint({1}), Hint::not_current);
    EXPECT_EQ(tracker.command(2), Command::begins);
    EXPECT_EQ(tracker.command(2), Command::repeated);
    EXPECT_EQ(tracker.hint({1}), Hint::accepted);
    EXPECT_EQ(tracker.command(77), Command::unknown);
    EXPECT_EQ(tracker.hint({1}), Hint::not_current) << "hints belong to the last command";
}

TEST(HintTracker, B11_ReplayAfterTheRound) {
    for (const bool by_host : {true, false}) {
        HintTracker tracker;
        ASSERT_EQ(tracker.publish(0, plenty), CommandId{2});
        ASSERT_EQ(tracker.command(2), Command::begins);
        if (by_host)
            EXPECT_TRUE(tracker.stop());
        else
            EXPECT_EQ(tracker.command(0), Command::ends);
        EXPECT_EQ(tracker.command(2), Command::unknown);
        EXPECT_EQ(tracker.hint({1}), Hint::not_current);
        ASSERT_EQ(tracker.publish(0, plenty), CommandId{3});
        EXPECT_EQ(tracker.command(2), Command::unknown);
        EXPECT_EQ(tracker.hint({1}), Hint::not_current);
    }
}

TEST(HintTracker, StaleChains) {
    HintTracker tracker;
    ASSERT_EQ(tracker.publish(2, plenty), CommandId{2});
    EXPECT_FALSE(tracker.chain_is_current());
    // A new round before the old chains are through: what is in the queue now is what counts.
    ASSERT_EQ(tracker.publish(3, plenty), CommandId{3});
    EXPECT_FALSE(tracker.chain_is_current());
    EXPECT_FALSE(tracker.chain_is_current());
    EXPECT_FALSE(tracker.chain_is_current());
    EXPECT_TRUE(tracker.chain_is_current());
}

TEST(HintTracker, B12_Budget) {
    HintTracker tracker;
    ASSERT_EQ(tracker.publish(0, {10}), CommandId{2});
    ASSERT_EQ(tracker.command(2), Command::begins);
    EXPECT_EQ(tracker.hint({8}), Hint::accepted);
    EXPECT_EQ(tracker.hint({3}), Hint::over_budget);
    EXPECT_EQ(tracker.hint({0}), Hint::accepted);
    EXPECT_EQ(tracker.hint({0}), Hint::accepted);
    EXPECT_EQ(tracker.hint({0}), Hint::over_budget) << "ranges without a page are not free";
}

TEST(HintTracker, AnIdIsNeverReused) {
    HintTracker tracker;
    ASSERT_EQ(tracker.publish(0, plenty), CommandId{2});
    tracker.reset();
    EXPECT_EQ(tracker.config_value(), 0U);
    EXPECT_EQ(tracker.publish(0, plenty), CommandId{3});
    tracker.issued = {0xffff'fffe};
    EXPECT_EQ(tracker.publish(0, plenty), CommandId{0xffff'ffff});
    EXPECT_EQ(tracker.publish(0, plenty), std::nullopt);
    EXPECT_EQ(tracker.publish(0, plenty), std::nullopt);
    EXPECT_EQ(tracker.config_value(), 0U);
}

// A scripted history with unequal IDs: no hint is accepted unless the last current command was the newest ID, whatever
// is interleaved. All sequences of seven steps over the alphabet below.
TEST(HintTracker, EveryShortHistory) {
    constexpr unsigned steps = 7;
    constexpr unsigned alphabet = 7;
    unsigned histories = 1;
    for (unsigned i = 0; i < steps; ++i)
        histories *= alphabet;
    for (unsigned history = 0; history < histories; ++history) {
        HintTracker tracker;
        bool open = false;
        bool current = false;
        std::uint32_t id = 1;
        unsigned rest = history;
        for (unsigned i = 0; i < steps; ++i, rest /= alphabet) {
            switch (rest % alphabet) {
            case 0:
                ASSERT_EQ(tracker.publish(0, plenty), CommandId{++id});
                open = true;
                current = false;
                break;
            case 1:
                ASSERT_EQ(tracker.stop(), open);
                open = current = false;
                break;
            case 2:
                tracker.done();
                open = current = false;
                break;
            case 3:
                static_cast<void>(tracker.command(id));
                current = open;
                break;
            case 4:
                static_cast<void>(tracker.command(id + 1));
                current = false;
                break;
            case 5:
                static_cast<void>(tracker.command(command_stop));
                open = open && !current;
                current = false;
                break;
            default:
                ASSERT_EQ(tracker.hint({1}) == Hint::accepted, current) << history;
            }
            ASSERT_EQ(tracker.open(), open) << history;
        }
    }
}

} // namespace
} // namespace aerate::protocol
