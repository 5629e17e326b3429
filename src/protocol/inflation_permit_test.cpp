#include "protocol/inflation_permit.hpp"

#include <gtest/gtest.h>

namespace aerate::protocol {
namespace {

using namespace std::chrono_literals;
using Time = InflationPermit::Time;

TEST(InflationPermit, LapsesOnceWhenItsTimeIsOver) {
    InflationPermit permit;
    EXPECT_FALSE(permit.lapse(Time{1h})) << "there is none";
    permit.give(Time{1s}, 2s);
    EXPECT_EQ(permit.left(Time{1s}), 2000ms);
    EXPECT_FALSE(permit.lapse(Time{3s} - 1ns));
    EXPECT_EQ(permit.left(Time{3s} - 1ns), 1ms);
    EXPECT_TRUE(permit.lapse(Time{3s}));
    EXPECT_FALSE(permit.lapse(Time{4s}));
    EXPECT_FALSE(permit.left(Time{4s}));
}

TEST(InflationPermit, ARenewedOneCountsFromThere) {
    InflationPermit permit;
    permit.give(Time{0s}, 10s);
    permit.give(Time{1s}, 2s);
    EXPECT_TRUE(permit.lapse(Time{3s})) << "the last word counts, though it is shorter";
}

TEST(InflationPermit, TheOperatorsWordNeedsNone) {
    InflationPermit permit;
    permit.give(Time{0s}, 1s);
    permit.end();
    EXPECT_FALSE(permit.lapse(Time{1h}));
    permit.give(Time{1h}, 1s);
    EXPECT_TRUE(permit.lapse(Time{1h + 1s})) << "a later permit is one again";
}

// Every sequence of five steps, against a model that only remembers the last one that counts.
TEST(InflationPermit, LapsesInNoOtherCase) {
    enum Step { give_short, give_long, end, wait, steps };
    for (int code = 0; code < 4 * 4 * 4 * 4 * 4; ++code) {
        InflationPermit permit;
        std::optional<Time> until;
        Time now{};
        int rest = code;
        for (int at = 0; at < 5; ++at, rest /= steps) {
            switch (static_cast<Step>(rest % steps)) {
            case give_short:
            case give_long: {
                const auto time = rest % steps == give_short ? 1s : 3s;
                permit.give(now, time);
                until = now + time;
                break;
            }
            case end:
                permit.end();
                until.reset();
                break;
            case wait:
            case steps:
                now += 2s;
                const bool over = until && now >= *until;
                EXPECT_EQ(permit.lapse(now), over) << code;
                if (over)
                    until.reset();
            }
            EXPECT_EQ(permit.left(now).has_value(), until.has_value()) << code;
        }
    }
}

TEST(InflationPermit, ALapseTakesNothingAndGivesNothing) {
    EXPECT_EQ(target_after_lapse({100}, {40}), PageCount{40});
    EXPECT_EQ(target_after_lapse({40}, {100}), PageCount{40}) << "what is being given back goes on being given back";
}

} // namespace
} // namespace aerate::protocol
