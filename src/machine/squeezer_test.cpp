#include "balloon/testing/balloon_guest.hpp"
#include "machine/squeezer.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace aerate {
namespace {

/// With a guest that has not left its statistics buffer yet, so that every question waits.
class SilentGuest : public ::testing::Test {
protected:
    SilentGuest() { guest_.start(); }
    Squeezer::Done note() {
        return [this](const Result<SqueezeReport>& report) { said_.push_back(report ? "" : report.error().message); };
    }

    balloon::testing::BalloonGuest guest_;
    std::vector<std::string> said_;
    Squeezer squeezer_{guest_.loop, guest_.fake.memory(), guest_.balloon};
};

TEST_F(SilentGuest, EndsWithItsDevice) {
    squeezer_.start({}, note());
    EXPECT_TRUE(squeezer_.busy());
    guest_.balloon.reset();
    EXPECT_FALSE(squeezer_.busy());
    ASSERT_EQ(said_.size(), 1U);
    EXPECT_NE(said_[0], "");
}

TEST_F(SilentGuest, IsAnsweredOnceWhenAbandoned) {
    ASSERT_TRUE(guest_.balloon.set_target({7}));
    squeezer_.start({}, note());
    squeezer_.abandon("it is gone");
    EXPECT_EQ(said_, std::vector<std::string>{"it is gone"});
    EXPECT_EQ(guest_.balloon.target(), PageCount{7});
    guest_.balloon.reset(); // the question is answered yet
    EXPECT_EQ(said_.size(), 1U);
}

TEST_F(SilentGuest, RefusesASecondOne) {
    squeezer_.start({}, note());
    squeezer_.start({}, note());
    ASSERT_EQ(said_.size(), 1U);
    EXPECT_EQ(said_[0], "a squeeze is under way already");
    guest_.balloon.reset();
}

} // namespace
} // namespace aerate
