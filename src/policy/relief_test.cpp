#include "policy/relief.hpp"

#include <gtest/gtest.h>

namespace aerate::policy {
namespace {

constexpr ByteCount in_mib(std::uint64_t count) {
    return {count * mib};
}

/// A guest of 1 GiB, for which a monitor keeps 80 MiB, with a balloon of 400.
Guest guest_with(std::uint64_t available, milliseconds age = {}) {
    return {.size = in_mib(1024),
            .target = in_mib(400),
            .actual = in_mib(400),
            .said = Statistics{.available = in_mib(available), .age = age}};
}

TEST(Relief, FillsUpToOneAndAHalfOfWhatIsKept) {
    EXPECT_EQ(relief(guest_with(0), in_mib(80)), in_mib(120));
    EXPECT_EQ(relief(guest_with(10), in_mib(80)), in_mib(110));
    EXPECT_EQ(relief(guest_with(100), in_mib(80)), in_mib(100)) << "a quarter of the balloon at least";
}

TEST(Relief, IsHalfOfTheBalloonOfAGuestThatSaysNothing) {
    Guest guest = guest_with(0);
    guest.said.reset();
    EXPECT_EQ(relief(guest, in_mib(80)), in_mib(200));
    EXPECT_EQ(relief(guest_with(500, statistics_age_max + milliseconds(1)), in_mib(80)), in_mib(200))
        << "or said it long ago";
}

TEST(Relief, AMonitorKeepsTheLeast) {
    EXPECT_EQ(target_after_taking_back(guest_with(0)), in_mib(280));
}

TEST(Relief, Story4_CountsFromWhatTheBalloonHas) {
    Guest guest = guest_with(0);
    guest.target = in_mib(700);
    EXPECT_EQ(target_after_taking_back(guest), in_mib(280));
    guest.target = in_mib(300); // on its way down
    EXPECT_EQ(target_after_taking_back(guest), in_mib(180));
}

TEST(Relief, LeavesNoBalloonThatIsNotWorthHaving) {
    Guest guest = guest_with(0);
    guest.actual = guest.target = in_mib(130);
    EXPECT_EQ(target_after_taking_back(guest), ByteCount{});
    guest.actual = guest.target = {};
    EXPECT_EQ(target_after_taking_back(guest), ByteCount{});
}

} // namespace
} // namespace aerate::policy
