// The parts that are functions: which queue is what, what a tap is told, how a guest makes itself known.
#include "net/announcement.hpp"
#include "net/offloads.hpp"
#include "net/queue_layout.hpp"
#include "net/tap_name.hpp"

#include <gtest/gtest.h>

namespace aerate::net {
namespace {

TEST(QueueLayout, TheControlQueueIsBehindThePairsThatWereAccepted) {
    const auto control = virtio::FeatureSet{}.with(feature::control_queue);
    EXPECT_EQ(place_of(0, {}, 1), (QueuePlace{Role::receive, 0}));
    EXPECT_EQ(place_of(1, {}, 1), (QueuePlace{Role::transmit, 0}));
    EXPECT_FALSE(place_of(2, {}, 1));
    EXPECT_EQ(place_of(2, control, 1), (QueuePlace{Role::control, 0}));
    EXPECT_EQ(place_of(2, control, 4), (QueuePlace{Role::control, 0})) << "MQ was declined";
    EXPECT_FALSE(place_of(3, control, 4));
    const auto many = control.with(feature::multi_queue);
    EXPECT_EQ(place_of(6, many, 4), (QueuePlace{Role::receive, 3}));
    EXPECT_EQ(place_of(8, many, 4), (QueuePlace{Role::control, 0}));
    EXPECT_FALSE(place_of(9, many, 4));
}

/// Each set of features: a tap refuses TSO without checksums (linux/drivers/net/tun.c, set_offload).
TEST(Offloads, WhatATapIsToldIsNeverRefused) {
    for (unsigned bits = 0; bits < 1U << 13; ++bits) {
        const auto offloads = guest_offloads({bits});
        const unsigned tap = tap_offloads(offloads);
        EXPECT_TRUE(tap == 0 || (tap & 1U) != 0) << bits;
        EXPECT_EQ(tap & ~7U, 0U);
        EXPECT_EQ(offloads.tso4, (bits & 0x82U) == 0x82U);
    }
}

TEST(Announcement, IsARarpFrameFromTheGuestToEverybody) {
    const auto frame = reverse_arp({2, 3, 4, 5, 6, 7});
    const auto byte = [&](std::size_t at) { return std::to_integer<unsigned>(frame[header::size + at]); };
    for (std::size_t i = 0; i < 6; ++i) {
        EXPECT_EQ(std::to_integer<unsigned>(frame[i]), 0U);
        EXPECT_EQ(byte(i), 0xffU);
        EXPECT_EQ(byte(6 + i), 2 + i);
        EXPECT_EQ(byte(22 + i), 2 + i);
        EXPECT_EQ(byte(32 + i), 2 + i);
    }
    EXPECT_EQ(byte(12), 0x80U);
    EXPECT_EQ(byte(13), 0x35U);
    EXPECT_EQ(byte(21), 3U);
    EXPECT_EQ(byte(59), 0U);
}

TEST(Announcement, HasFiveRoundsWithGrowingPauses) {
    using std::chrono::milliseconds;
    Announcement announcement;
    EXPECT_EQ(announcement.announced(), milliseconds(50));
    EXPECT_EQ(announcement.announced(), milliseconds(150));
    EXPECT_EQ(announcement.announced(), milliseconds(250));
    EXPECT_EQ(announcement.announced(), milliseconds(350));
    EXPECT_FALSE(announcement.announced());
}

TEST(TapName, IsOneThatNoKernelTakesForAPatternOrAPath) {
    EXPECT_EQ(check_tap_name("tap0"), "");
    EXPECT_EQ(check_tap_name("vm-1.eth_0"), "");
    for (const auto* name : {"", ".", "..", "tap%d", "a/b", "a b", "0123456789abcdef", "tap\n"})
        EXPECT_NE(check_tap_name(name), "") << name;
}

} // namespace
} // namespace aerate::net
