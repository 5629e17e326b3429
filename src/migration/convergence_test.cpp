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

TEST(Throughput, GuessesNoMoreThanItsLimit) {
    EXPECT_EQ(Throughput(64_KiB).per_second(), 64_KiB);
    EXPECT_EQ(Throughput(1_GiB).per_second(), 64_MiB);
    Throughput link(64_KiB);
    link.sent(1_MiB, 4s); // compressed
    EXPECT_EQ(link.per_second(), 256_KiB);
}

// Returns a link over which `content` went at 100 MiB/s.
Throughput measured(ByteCount content) {
    Throughput link;
    link.sent(content, std::chrono::duration<double>(static_cast<double>(content.value) / (100U << 20)));
    return link;
}

TEST(Convergence, FinishesWhenItFitsAndNeverOtherwiseUnlessAsked) {
    const Throughput link = measured(1_GiB);
    const PageCount fits = whole_pages_of(10_MiB - page_size);
    const PageCount too_much = whole_pages_of(10_MiB + page_size);
    const Convergence polite{100ms, 3, false};
    EXPECT_EQ(polite.judge(1, link, fits), Verdict::finish);
    EXPECT_EQ(polite.judge(1, link, too_much), Verdict::go_on);
    EXPECT_EQ(polite.judge(3, link, too_much), Verdict::go_on);
    EXPECT_EQ(polite.judge(4, link, too_much), Verdict::give_up);
    EXPECT_EQ(polite.judge(4, link, fits), Verdict::finish);
    const Convergence insistent{100ms, 3, true};
    EXPECT_EQ(insistent.judge(4, link, too_much), Verdict::finish);
}

// A guest stood still for 92 s at 64 KiB/s, limit 300 ms: all of its first round was hinted, and nothing was known.
TEST(Convergence, StopsNoGuestByARateThatWasMeasuredOnLess) {
    const Convergence polite{300ms, 30, false};
    EXPECT_EQ(polite.judge(1, Throughput(), {}), Verdict::finish) << "nothing is left";
    EXPECT_EQ(polite.judge(1, Throughput(), {1}), Verdict::go_on) << "nothing is known";
    EXPECT_EQ(polite.judge(2, measured(64_KiB), {17}), Verdict::go_on);
    EXPECT_EQ(polite.judge(2, measured(64_KiB), {16}), Verdict::finish);
    EXPECT_EQ(polite.judge(31, measured(64_KiB), {17}), Verdict::give_up);

    Throughput limited(64_KiB);
    limited.sent(1_MiB, 16s);
    EXPECT_EQ(polite.judge(2, limited, {5}), Verdict::go_on);
    EXPECT_EQ(polite.judge(2, limited, {4}), Verdict::finish);
}

// A guest that writes nothing but zeros gets through as well: each round after the first counts as one of its kind.
TEST(Convergence, EndsForAGuestThatWritesZeros) {
    Throughput link;
    const Convergence polite{300ms, 30, false};
    EXPECT_EQ(polite.judge(2, link, {1000}), Verdict::go_on);
    link.saw_zero({1000});
    EXPECT_EQ(polite.judge(3, link, {1000}), Verdict::finish);
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
