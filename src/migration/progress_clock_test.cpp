#include "migration/progress_clock.hpp"

#include <gtest/gtest.h>

namespace aerate::migration {
namespace {

using namespace std::chrono_literals;
using Clock = ProgressClock::Clock;

TEST(ProgressClock, S10_OnlyWhatIsOfUseCountsAndADribbleFallsBehind) {
    const Clock::time_point start{1h};
    ProgressClock silent(start);
    silent.advance({0}, start + 50s);
    EXPECT_EQ(silent.idle(start + 60s), 60s);

    ProgressClock dribbles(start);
    ProgressClock works(start);
    for (int second = 1; second <= 60; ++second) {
        dribbles.advance(ByteCount{static_cast<std::uint64_t>(second) * 4096}, start + second * 1s);
        works.advance(ByteCount{static_cast<std::uint64_t>(second) * ProgressClock::slowest.value},
                      start + second * 1s);
    }
    EXPECT_EQ(dribbles.idle(start + 60s), 45s);
    EXPECT_EQ(works.idle(start + 60s), 0s);

    // Much at once is no credit for later.
    works.advance(ByteCount{1U << 30}, start + 61s);
    EXPECT_EQ(works.idle(start + 91s), 30s);
    works.grant(100s, start + 91s);
    EXPECT_EQ(works.idle(start + 150s), 0s);
    works.advance(ByteCount{1U << 30}, start + 200s);
    EXPECT_EQ(works.idle(start + 201s), 10s);
}

} // namespace
} // namespace aerate::migration
