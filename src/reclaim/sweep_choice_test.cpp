#include "reclaim/sweep_choice.hpp"

#include <gtest/gtest.h>

namespace aerate {
namespace {

using Way = Sweeper::Way;

constexpr PageCount mib(std::uint64_t count) {
    return whole_pages_of({count << 20});
}
SweepReport by_content(PageCount read, PageCount zero) {
    SweepReport report;
    report.read = read;
    report.zero = report.discarded = zero;
    return report;
}
SweepReport by_log(PageCount discarded, PageCount zero) {
    SweepReport report;
    report.discarded = discarded;
    report.read = report.zero = zero;
    return report;
}

TEST(SweepChoice, LooksAtContentFirst) {
    const SweepChoice choice;
    EXPECT_EQ(choice.first(), Way::by_content);
    EXPECT_FALSE(choice.wants_log(by_content({}, {}))) << "a guest that has nothing, or reports";
    EXPECT_FALSE(choice.wants_log(by_content(mib(1000), mib(976)))) << "2 % and 4 MiB are kept";
    EXPECT_TRUE(choice.wants_log(by_content(mib(1000), mib(975))));
}

/// What such a guest keeps, it uses.
TEST(SweepChoice, NeverWantsALogOfAGuestThatClears) {
    SweepChoice choice;
    choice.learn_from_log(by_log(mib(100), mib(60)));
    EXPECT_EQ(choice.first(), Way::by_content);
    EXPECT_FALSE(choice.wants_log(by_content(mib(1000), mib(0))));
}

TEST(SweepChoice, GoesByLogAtOnceForAGuestThatDoesNotClearUntilItClears) {
    SweepChoice choice;
    choice.learn_from_log(by_log(mib(100), mib(10)));
    EXPECT_EQ(choice.first(), Way::by_log);
    choice.learn_from_log(by_log(mib(3), mib(3)));
    EXPECT_EQ(choice.first(), Way::by_log) << "too little to tell";
    choice.learn_from_log(by_log(mib(100), mib(100)));
    EXPECT_EQ(choice.first(), Way::by_content) << "it has booted another kernel";
}

} // namespace
} // namespace aerate
