#include "migration/link/link_rate.hpp"

#include <gtest/gtest.h>

namespace aerate::migration {
namespace {

using Duration = LinkRate::Duration;
constexpr ByteCount sent{100'000};

/// As a sender sees a link of 100 MB/s: ten times the buffer takes what it is given, then it is full.
void send(LinkRate& link, int times) {
    for (int i = 0; i < times; ++i) {
        for (int frame = 0; frame < 9; ++frame)
            link.sent(sent, Duration(10e-6), {});
        link.sent(sent, Duration(10e-3 - 90e-6), Duration(9e-3));
    }
}

TEST(LinkRate, IsUnknownUntilTheSenderHasWaitedTwice) {
    LinkRate link;
    for (int i = 0; i < 1000; ++i)
        link.sent(sent, Duration(10e-6), {});
    EXPECT_EQ(link.per_byte(), 0) << "that was the buffer";
    link.sent(sent, Duration(10e-3), Duration(10e-3));
    EXPECT_EQ(link.per_byte(), 0) << "what came before the first wait says nothing";
    send(link, 1);
    EXPECT_NEAR(link.per_byte(), 1e-8, 1e-10);
}

TEST(LinkRate, ALimitIsKnownFromTheBeginning) {
    LinkRate link({50'000'000});
    EXPECT_DOUBLE_EQ(link.per_byte(), 2e-8);
    send(link, 10);
    EXPECT_DOUBLE_EQ(link.per_byte(), 2e-8) << "it is not faster for a link that is";
    LinkRate slower({500'000'000});
    send(slower, 10);
    EXPECT_NEAR(slower.per_byte(), 1e-8, 1e-10);
}

TEST(LinkRate, AMomentInWhichNothingMovesCountsForWhatItIs) {
    LinkRate link;
    send(link, 100);
    link.sent(sent, Duration(20e-3), Duration(20e-3));
    EXPECT_LT(link.per_byte(), 1.2e-8);
}

TEST(LinkRate, ASenderThatHardlyWaitsLearnsOnlyThatTheLinkIsFaster) {
    LinkRate link;
    send(link, 100);
    link.sent(sent, Duration(100e-3), Duration(1e-3));
    EXPECT_NEAR(link.per_byte(), 1e-8, 1e-10) << "it may have been without work";
    for (int i = 0; i < 10; ++i)
        link.sent({200 * sent.value}, Duration(100e-3), Duration(1e-3));
    EXPECT_LT(link.per_byte(), 6e-9) << "and here it was not";
}

TEST(LinkRate, WhatHasGoneThroughSinceSaysThatABadMomentWasOne) {
    LinkRate link;
    send(link, 1);
    link.sent({10 * sent.value}, Duration(1), Duration(1));
    EXPECT_GT(link.per_byte(), 5e-7);
    for (int i = 0; i < 60; ++i)
        link.sent(sent, Duration(1e-3), {});
    EXPECT_LT(link.per_byte(), 1.1e-8) << "more than fits into the buffer";
}

TEST(LinkRate, ASenderThatNeverWaitsThinksBetterAndBetterOfIt) {
    LinkRate link;
    send(link, 100);
    for (int i = 0; i < 300; ++i)
        link.sent(sent, Duration(10e-3), {});
    EXPECT_NEAR(link.per_byte(), 1e-8 / 64, 1e-12);
    send(link, 2);
    EXPECT_NEAR(link.per_byte(), 1e-8, 1e-9) << "until it waits again";
}

} // namespace
} // namespace aerate::migration
