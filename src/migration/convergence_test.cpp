#include "migration/convergence.hpp"

#include <gtest/gtest.h>

namespace aerate::migration {
namespace {

using namespace std::chrono_literals;
using namespace aerate::literals;

TEST(Throughput, IsThatOfWhatWasSentLast) {
    Throughput link;
    EXPECT_EQ(link.per_second(), 64_MiB) << "a guess, until something is known";
    for (int i = 0; i < 1000; ++i)
        link.sent(1_MiB, 1ms);
    EXPECT_NEAR(static_cast<double>(link.per_second().value), 1000.0 * (1U << 20), 1e6);
    EXPECT_NEAR(static_cast<double>(link.time_for(whole_pages_of(100_MiB)).count()), 100'000, 200);
    for (int i = 0; i < 1000; ++i)
        link.sent(1_MiB, 10ms);
    EXPECT_NEAR(static_cast<double>(link.per_second().value), 100.0 * (1U << 20), 2e6);
    EXPECT_GT(Throughput().time_for({~0ULL >> 12}), 1000h);
}

TEST(Convergence, FinishesWhenItFitsAndNeverOtherwiseUnlessAsked) {
    const Convergence polite{100ms, 3, false};
    EXPECT_EQ(polite.judge(1, 100ms), Verdict::finish);
    EXPECT_EQ(polite.judge(1, 101ms), Verdict::go_on);
    EXPECT_EQ(polite.judge(3, 101ms), Verdict::go_on);
    EXPECT_EQ(polite.judge(4, 101ms), Verdict::give_up);
    EXPECT_EQ(polite.judge(4, 100ms), Verdict::finish);
    const Convergence insistent{100ms, 3, true};
    EXPECT_EQ(insistent.judge(4, 10h), Verdict::finish);
}

TEST(HintPatience, NeverCostsMoreThanHintsSpareAndABeginning) {
    const HintPatience::Time start{};
    HintPatience none(start, 100ms, 20ms);
    EXPECT_EQ(none.until(), start + 100ms);
    none.hinted(start + 50ms, 0ms);
    EXPECT_EQ(none.until(), start + 100ms) << "a hint that spares nothing earns nothing";

    HintPatience small(start, 100ms, 20ms);
    small.hinted(start + 10ms, 1ms);
    EXPECT_EQ(small.until(), start + 30ms) << "the next one may take a pause";
    for (int i = 1; i < 1000; ++i)
        small.hinted(start + 10ms + i * 19ms, 1ms);
    EXPECT_EQ(small.until(), start + 1100ms) << "a guest that drips is not waited for longer than it spares";

    HintPatience large(start, 100ms, 20ms);
    large.hinted(start + 90ms, 400ms);
    EXPECT_EQ(large.until(), start + 500ms);
    large.hinted(start + 490ms, 400ms);
    EXPECT_EQ(large.until(), start + 900ms) << "what was earned until then";
    large.hinted(start + 500ms, 40ms);
    EXPECT_EQ(large.until(), start + 580ms) << "small ones now: the end is near";
}

TEST(HintTurns, NeverTwoRoundsInARow) {
    HintTurns turns;
    EXPECT_TRUE(turns.next({0}));
    EXPECT_FALSE(turns.next({700}));
    EXPECT_TRUE(turns.next({700}));
    EXPECT_FALSE(turns.next({701}));
    EXPECT_TRUE(turns.next({701}));
}

TEST(HintTurns, NotAgainWhenTheySparedNothing) {
    HintTurns turns;
    EXPECT_TRUE(turns.next({0}));
    for (int round = 0; round < 5; ++round)
        EXPECT_FALSE(turns.next({0}));
}

TEST(Throttle, SlowsDownAGuestThatWritesMoreThanHalfOfWhatIsSent) {
    Throttle throttle;
    EXPECT_EQ(throttle.round({100}, {50}), 0U);
    EXPECT_EQ(throttle.round({100}, {51}), 0U) << "once may be chance";
    EXPECT_EQ(throttle.round({100}, {51}), 20U);
    EXPECT_EQ(throttle.round({100}, {10}), 20U) << "it helps";
    EXPECT_EQ(throttle.round({100}, {100}), 30U);
    for (int i = 0; i < 20; ++i)
        (void)throttle.round({100}, {100});
    EXPECT_EQ(throttle.percent(), 99U);
}

} // namespace
} // namespace aerate::migration
