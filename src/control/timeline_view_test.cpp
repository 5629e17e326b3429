#include "control/timeline_view.hpp"

#include <gmock/gmock.h>

#include <sstream>

namespace aerate::control {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

const std::vector<MigrationStep> steps{
    {.step = "preparing", .duration = 800ms},
    {.step = "copying", .round = 1, .start = 800ms, .duration = 150ms, .sent = {70U << 20}},
    {.step = "stopping", .start = 950ms, .duration = 10ms, .still = true},
    {.step = "starting", .start = 960ms, .duration = 40ms, .sent = {3U << 10}, .still = true},
};

TEST(TimelineView, DrawsEachStepWhereItLies) {
    EXPECT_EQ(render_timeline(steps, 80), R"(STEP       ROUND  AT MS  TOOK MS  SENT KIB
preparing           0.0    800.0         0  #########################
copying        1  800.0    150.0     71680                           #####
stopping          950.0     10.0         0                                #
starting          960.0     40.0         3                                ##

Of that the guest stood still for 50.0 ms:
STEP      ROUND  AT MS  TOOK MS  SENT KIB
stopping         950.0     10.0         0  ######
starting         960.0     40.0         3        ##########################
)");
}

TEST(TimelineView, NoLineIsLongerThanTheTerminalIsWide) {
    std::vector<MigrationStep> long_one = steps;
    long_one.front().duration = long_one[1].start = 900'000ms;
    for (const std::size_t columns : {20U, 40U, 79U, 80U, 200U}) {
        std::istringstream lines(render_timeline(long_one, columns));
        for (std::string line; std::getline(lines, line);)
            EXPECT_TRUE(line.size() <= std::max<std::size_t>(columns, 60)) << columns << ": " << line;
    }
}

TEST(TimelineView, AMoveThatNeverBeganHasNone) {
    EXPECT_EQ(render_timeline({}, 80), "");
    EXPECT_THAT(render_timeline({{.step = "preparing"}}, 80), HasSubstr("preparing")) << "of no length";
}

} // namespace
} // namespace aerate::control
