#include "migration/timeline.hpp"

#include <gtest/gtest.h>

namespace aerate::migration {
namespace {

using namespace std::chrono_literals;
using Kind = TimelineStep::Kind;

TEST(Timeline, StepsFollowEachOtherWithoutAGap) {
    Timeline timeline;
    timeline.end(1us, {});
    EXPECT_TRUE(timeline.steps().empty()) << "nothing has begun";
    timeline.begin(Kind::connecting, 0, 2us, {10});
    timeline.begin(Kind::copying, 1, 5us, {10});
    timeline.begin(Kind::stopping, 1, 9us, {40});
    timeline.end(12us, {41});
    timeline.end(15us, {42});
    EXPECT_EQ(timeline.steps(), (std::vector<TimelineStep>{{Kind::connecting, 0, 2us, 3us, {0}},
                                                           {Kind::copying, 1, 5us, 4us, {30}},
                                                           {Kind::stopping, 1, 9us, 6us, {2}}}));
}

TEST(Timeline, AThousandRoundsTakeNoMoreRoomAndLoseNoTime) {
    Timeline timeline;
    for (unsigned round = 1; round <= 1000; ++round)
        timeline.begin(Kind::copying, round, std::chrono::microseconds(round), {round});
    timeline.begin(Kind::stopping, 1000, 2000us, {2000});
    timeline.begin(Kind::starting, 1000, 2001us, {2000});
    timeline.end(2002us, {2000});
    ASSERT_EQ(timeline.steps().size(), Timeline::rounds_max + 2);
    std::chrono::microseconds at = timeline.steps().front().start;
    std::uint64_t sent = 0;
    for (const TimelineStep& step : timeline.steps()) {
        EXPECT_EQ(step.start, at);
        at += step.duration;
        sent += step.sent.value;
    }
    EXPECT_EQ(at, 2002us);
    EXPECT_EQ(sent, 1999U) << "the first round began with a byte";
}

} // namespace
} // namespace aerate::migration
