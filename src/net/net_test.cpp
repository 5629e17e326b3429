#include "net/net.hpp"
#include "net/testing/card.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

namespace aerate {
namespace {

using namespace net;
using namespace net::testing;
using namespace std::chrono_literals;

class NetTest : public ::testing::TestWithParam<virtio::FeatureSet> {};
INSTANTIATE_TEST_SUITE_P(Rings, NetTest,
                         ::testing::Values(split_ring, split_ring_with_events, packed_ring_with_events));

std::uint16_t buffers_of(const Bytes& frame) {
    return load_little_endian<std::uint16_t>(std::span(frame).subspan(header::num_buffers));
}

TEST_P(NetTest, SendsWhatTheGuestGivesInOrderAndWritesNothingBack) {
    Card card(GetParam());
    std::vector<Bytes> frames;
    for (std::size_t size : {14U, 60U, 61U, 1514U, 65550U}) {
        const Bytes& frame = frames.emplace_back(make_frame(size));
        const auto half = frame.size() / 3;
        card.transmit->add({readable(std::span(frame).first(half)), readable(std::span(frame).subspan(half))});
    }
    card.kick_transmit();
    EXPECT_EQ(card.back_end->sent, frames);
    for (std::size_t i = 0; i < frames.size(); ++i)
        EXPECT_EQ(card.transmit->take_used()->written, 0U);
    EXPECT_EQ(card.net->counters().tx_packets, frames.size());
    EXPECT_EQ(card.net->counters().tx_spoofed_mac, 0U);
}

TEST_P(NetTest, ReceivesIntoOneBufferOrMergesSeveral) {
    Card card(GetParam());
    for (int i = 0; i < 8; ++i)
        card.receive->add({writable(700), writable(800)});
    card.kick_receive();
    const Bytes small = make_frame(60);
    const Bytes large = make_frame(4000);
    card.back_end->give(small);
    card.back_end->give(large);
    card.run();

    auto used = card.receive->take_used();
    ASSERT_TRUE(used);
    EXPECT_EQ(used->written, small.size());
    used->bytes.resize(used->written);
    EXPECT_EQ(buffers_of(used->bytes), 1);
    EXPECT_TRUE(std::ranges::equal(std::span(used->bytes).subspan(header::size), std::span(small).subspan(12)));

    Bytes whole;
    std::uint16_t count = 0;
    while (auto next = card.receive->take_used()) {
        whole.insert(whole.end(), next->bytes.begin(), next->bytes.begin() + next->written);
        ++count;
    }
    EXPECT_EQ(count, 3);
    EXPECT_EQ(buffers_of(whole), 3);
    EXPECT_TRUE(std::ranges::equal(std::span(whole).subspan(header::size), std::span(large).subspan(header::size)));
    EXPECT_EQ(card.receive->device().in_flight(), 4) << "the rest is held for the next frame";
}

TEST_P(NetTest, TheDriverHasAFrameBeforeTheBackEndIsAskedForAnother) {
    Card card(GetParam());
    card.receive->add({writable(2000)});
    card.receive->add({writable(2000)});
    card.kick_receive();
    bool had_it = false;
    card.back_end->when_empty = [&] { had_it = card.receive->take_used().has_value(); };
    card.back_end->give(make_frame(60));
    card.run();
    EXPECT_TRUE(had_it);
}

TEST_P(NetTest, AFrameWaitsForBuffersAndIsReadIntoThemWithoutTheRestLost) {
    Card card(GetParam());
    const Bytes frame = make_frame(3000);
    card.receive->add({writable(1000)});
    card.kick_receive();
    card.back_end->give(frame);
    card.back_end->give(frame);
    card.run();
    EXPECT_FALSE(card.receive->take_used()) << "most of it has no buffer";
    card.receive->add({writable(1500)});
    card.receive->add({writable(1500)});
    card.kick_receive();
    card.run();
    Bytes whole;
    while (auto next = card.receive->take_used())
        whole.insert(whole.end(), next->bytes.begin(), next->bytes.begin() + next->written);
    ASSERT_EQ(whole.size(), frame.size());
    EXPECT_TRUE(std::ranges::equal(std::span(whole).subspan(header::size), std::span(frame).subspan(header::size)));
    EXPECT_EQ(card.back_end->to_guest.size(), 1U) << "the second one waits where it is";
    card.receive->add({writable(1500)});
    EXPECT_TRUE(card.receive->kick_wanted());
}

TEST_P(NetTest, WithoutFramesNoKickIsWantedAndNothingTurns) {
    Card card(GetParam());
    card.receive->add({writable(2000)});
    card.kick_receive();
    EXPECT_TRUE(card.host.kicks_again.empty());
    const unsigned before = card.back_end->receives;
    card.run();
    EXPECT_EQ(card.back_end->receives, before);
    card.receive->add({writable(2000)});
    EXPECT_FALSE(card.receive->kick_wanted());
}

TEST_P(NetTest, AFullBackEndKeepsFramesInTheirRing) {
    Card card(GetParam());
    card.back_end->be_full();
    const Bytes frame = make_frame(100);
    card.transmit->add({readable(frame)});
    card.transmit->add({readable(frame)});
    card.kick_transmit();
    EXPECT_EQ(card.transmit->device().in_flight(), 0);
    EXPECT_EQ(card.transmit->device().available(), 2);
    card.run();
    EXPECT_TRUE(card.back_end->sent.empty());
    card.back_end->make_room();
    card.run();
    EXPECT_EQ(card.back_end->sent.size(), 2U);
    EXPECT_TRUE(card.transmit->take_used());
}

TEST_P(NetTest, APauseGivesBuffersBackAndDeliversWhatWasRead) {
    const protocol::RateLimits slow{.bandwidth = protocol::TokenBucketLimit{1100, 0, 60s}};
    Card card(GetParam(), everything, {.mac = own_mac, .receive = slow});
    for (int i = 0; i < 4; ++i)
        card.receive->add({writable(1500)});
    card.kick_receive();
    card.back_end->give(make_frame(1000));
    card.back_end->give(make_frame(1000));
    card.run();
    EXPECT_TRUE(card.receive->take_used());
    EXPECT_FALSE(card.receive->take_used()) << "the limiter holds the second one back";
    bool quiet = false;
    card.net->pause([&] { quiet = true; });
    EXPECT_TRUE(quiet);
    EXPECT_TRUE(card.receive->take_used()) << "it was in the guest's memory already";
    EXPECT_EQ(card.receive->device().in_flight(), 0);
    EXPECT_EQ(card.receive->device().available(), 2);
    EXPECT_EQ(card.net->counters().rx_fails, 0U);

    // Nothing happens until it goes on; then all goes on.
    card.back_end->give(make_frame(10));
    card.run();
    EXPECT_EQ(card.back_end->to_guest.size(), 1U);
    card.net->resume();
    for (int i = 0; i < 500 && !card.back_end->to_guest.empty(); ++i)
        card.run_for(1ms);
    EXPECT_EQ(card.back_end->to_guest.size(), 0U);
}

TEST_P(NetTest, WhatIsReceivedIsInTheWriteLogAndNoMoreThanThat) {
    Card card(GetParam());
    auto& log = card.fake.memory().write_log();
    log.start();
    PageBitmap dirty(card.fake.memory().address_space());
    const GuestAddress at{5U << 20};
    card.receive->add({writable_at(at, 65536)});
    card.kick_receive();
    card.back_end->give(make_frame(5000));
    card.run();
    ASSERT_TRUE(card.receive->take_used());
    log.take(dirty);
    EXPECT_EQ(dirty.count({frame_of(at), {16}}), PageCount{2});

    // A frame that waits for more buffers, and is lost to a pause, has been written all the same.
    dirty.clear_all();
    card.receive->add({writable_at(at, 8192)});
    card.kick_receive();
    card.back_end->give(make_frame(60'000));
    card.run();
    card.net->pause([] {});
    log.take(dirty);
    EXPECT_EQ(dirty.count({frame_of(at), {16}}), PageCount{2});
}

TEST_P(NetTest, TheBackEndMayGiveWhatTheDriverAcceptedAndNotWhatItWasOffered) {
    const auto only_sums = virtio::FeatureSet{}.with(feature::csum).with(feature::guest_csum);
    Card card(GetParam(), only_sums);
    EXPECT_TRUE(card.net->offered_features().has(feature::guest_tso4));
    EXPECT_EQ(card.back_end->offloads_now, (GuestOffloads{.checksum = true}));
    card.net->reset();
    EXPECT_EQ(card.back_end->offloads_now, GuestOffloads{});

    card.back_end->can_offload = false;
    for (const unsigned bit :
         {feature::csum, feature::guest_csum, feature::host_tso4, feature::guest_tso6, feature::ctrl_guest_offloads})
        EXPECT_FALSE(card.net->offered_features().has(bit)) << bit;
}

TEST_P(NetTest, ALimiterHoldsFramesOfTheGuestBackAndAChangeLetsThemGo) {
    const protocol::RateLimits slow{.operations = protocol::TokenBucketLimit{1, 0, 60s}};
    Card card(GetParam(), everything, {.mac = own_mac, .transmit = slow});
    card.transmit->add({readable(make_frame(100))});
    card.transmit->add({readable(make_frame(100))});
    card.kick_transmit();
    EXPECT_EQ(card.back_end->sent.size(), 1U);
    EXPECT_EQ(card.transmit->device().available(), 1);
    card.net->change_limits({}, {.operations = protocol::TokenBucketLimit{}});
    for (int i = 0; i < 500 && card.back_end->sent.size() < 2; ++i)
        card.run_for(1ms);
    EXPECT_EQ(card.back_end->sent.size(), 2U);
}

TEST_P(NetTest, WhatStaysInTheMonitorCostsNoLimiter) {
    const protocol::RateLimits slow{.bandwidth = protocol::TokenBucketLimit{200, 0, 60s},
                                    .operations = protocol::TokenBucketLimit{1, 0, 60s}};
    Card card(GetParam(), everything, {.mac = own_mac, .receive = slow, .transmit = slow});
    card.back_end->send_outcome = card.back_end->receive_outcome = Outcome::local;
    for (int i = 0; i < 5; ++i) {
        card.transmit->add({readable(make_frame(100))});
        card.receive->add({writable(1500)});
        card.back_end->give(make_frame(100));
    }
    card.kick_transmit();
    card.kick_receive();
    card.run();
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(card.transmit->take_used()) << i;
        EXPECT_TRUE(card.receive->take_used()) << i;
    }
    EXPECT_EQ(card.net->counters().tx_packets, 0U) << "nor is it on the network";
}

TEST_P(NetTest, AMoveIsAnnouncedUntilTheGuestHasAnswered) {
    Card card(GetParam());
    card.net->pause([] {});
    card.net->announce();
    EXPECT_TRUE(card.back_end->sent.empty()) << "the guest is not here yet";
    card.net->resume();
    ASSERT_EQ(card.back_end->sent.size(), 1U);
    EXPECT_EQ(card.back_end->sent[0].size(), header::size + 60);
    EXPECT_EQ(card.back_end->sent[0][header::size + 12], std::byte{0x80});
    EXPECT_EQ(card.status(), status::link_up | status::announce);
    EXPECT_EQ(card.host.config_changes, 1U);
    card.run_for(60ms);
    EXPECT_EQ(card.back_end->sent.size(), 2U) << "once more, after 50 ms";

    card.control->add({readable(std::array<std::uint8_t, 2>{3, 0}), writable(1)});
    card.kick_control();
    EXPECT_EQ(card.control->take_used()->bytes[0], std::byte{0});
    EXPECT_EQ(card.status(), status::link_up);
    card.run_for(300ms);
    EXPECT_EQ(card.back_end->sent.size(), 2U);
}

TEST_P(NetTest, AnAnnouncementEndsByItself) {
    Card card(GetParam(), virtio::FeatureSet{});
    card.net->announce();
    for (int i = 0; i < 150; ++i)
        card.run_for(10ms);
    EXPECT_EQ(card.back_end->sent.size(), Announcement::rounds);
    EXPECT_EQ(card.status(), status::link_up) << "this driver has no such bit";
}

TEST_P(NetTest, SavedStateIsRestoredAndAnotherMacIsALinkPulse) {
    Card card(GetParam());
    card.net->pause([] {});
    const auto saved = card.net->save();

    Card same(GetParam());
    same.net->pause([] {});
    ASSERT_TRUE(same.net->restore(saved));
    same.net->resume();
    EXPECT_EQ(same.host.config_changes, 0U);

    Card other(GetParam(), everything, {.mac = {2, 0, 0, 0, 0, 9}});
    other.net->pause([] {});
    ASSERT_TRUE(other.net->restore(saved));
    other.net->resume();
    EXPECT_EQ(other.host.config_changes, 1U);
    EXPECT_EQ(other.status(), 0U) << "down, and the driver has seen it";
    other.run_for(100ms);
    EXPECT_EQ(other.status(), status::link_up);
    EXPECT_EQ(other.host.config_changes, 2U);
}

TEST_P(NetTest, ABackEndThatFailsAndFailsHasEnded) {
    Card card(GetParam());
    card.receive->add({writable(2000)});
    card.back_end->fails = true;
    card.kick_receive();
    for (int i = 0; i < 100; ++i)
        card.run(1);
    EXPECT_EQ(card.status(), 0U);
    EXPECT_EQ(card.back_end->receives, 1000U);

    // As it is saved: on another host its link comes up again.
    card.net->pause([] {});
    Card other(GetParam());
    other.net->pause([] {});
    ASSERT_TRUE(other.net->restore(card.net->save()));
    other.net->resume();
    EXPECT_EQ(other.status(), 0U);
    other.run_for(100ms);
    EXPECT_EQ(other.status(), status::link_up);
}

TEST_P(NetTest, ABackEndThatEndsIsALinkThatIsDown) {
    Card card(GetParam());
    card.receive->add({writable(2000)});
    card.back_end->gone = true;
    card.kick_receive();
    EXPECT_EQ(card.status(), 0U);
    EXPECT_EQ(card.host.config_changes, 1U);
    card.run();
    EXPECT_TRUE(card.host.kicks_again.empty()) << "and nothing turns for it";
    card.transmit->add({readable(make_frame(100))});
    card.kick_transmit();
    EXPECT_TRUE(card.transmit->take_used()) << "the guest is not kept waiting";
    EXPECT_EQ(card.net->counters().tx_fails, 1U);
}

} // namespace
} // namespace aerate
