// Several pairs of queues, with what a hostile driver may do to them: docs/hostile-inputs.md, N29 to N33.
#include "net/control_command.hpp"
#include "net/testing/card.hpp"
#include "net/testing/samples.hpp"
#include "virtio/virtqueue.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <vector>

namespace aerate {
namespace {

using namespace net;
using namespace net::testing;
using namespace std::chrono_literals;

constexpr std::byte ok{0};
constexpr std::byte error{1};

class MultiQueue : public ::testing::TestWithParam<virtio::FeatureSet> {
protected:
    static Card card(std::size_t pairs = 2, const NetOptions& options = {.mac = own_mac},
                     virtio::FeatureSet accepted = everything_and_pairs) {
        return Card(GetParam(), accepted, options, pairs);
    }
};
INSTANTIATE_TEST_SUITE_P(Rings, MultiQueue,
                         ::testing::Values(split_ring, split_ring_with_events, packed_ring_with_events));

std::vector<bool> used(const Card& card) {
    std::vector<bool> all;
    for (const auto& back_end : card.back_ends)
        all.push_back(back_end->used);
    return all;
}

TEST_P(MultiQueue, IsOfferedWithAsManyPairsAsThereAreBackEnds) {
    Card several = card(3);
    EXPECT_TRUE(several.net->offered_features().has(feature::multi_queue));
    EXPECT_EQ(several.net->queue_sizes().size(), 7U);
    std::array<std::byte, 2> pairs{};
    several.net->read_config(config::max_virtqueue_pairs, pairs);
    EXPECT_EQ(load_little_endian<std::uint16_t>(pairs), 3);

    Card one = card(1);
    EXPECT_FALSE(one.net->offered_features().has(feature::multi_queue));
    EXPECT_EQ(one.net->queue_sizes().size(), 3U);
}

TEST_P(MultiQueue, EachPairSendsAndReceivesByItsBackEndOnceItIsUsed) {
    Card two = card();
    Card::Pair& second = two.more_pairs[0];
    second.receive.add({writable(2000)});
    two.net->kicked({2});
    two.back_ends[1]->give(make_frame(100));
    two.run();
    EXPECT_FALSE(second.receive.take_used()) << "it is not used";
    EXPECT_EQ(second.receive.device().in_flight(), 0);

    EXPECT_EQ(two.set_pairs(2), ok);
    EXPECT_EQ(used(two), (std::vector{true, true}));
    two.run();
    EXPECT_EQ(second.receive.take_used()->written, header::size + 100) << "the buffer was there before";
    second.transmit.add({readable(make_frame(60))});
    two.net->kicked({3});
    two.transmit->add({readable(make_frame(70))});
    two.kick_transmit();
    ASSERT_EQ(two.back_ends[0]->sent.size(), 1U);
    EXPECT_EQ(two.back_ends[0]->sent[0].size(), header::size + 70);
    ASSERT_EQ(two.back_ends[1]->sent.size(), 1U);
    EXPECT_EQ(two.back_ends[1]->sent[0].size(), header::size + 60);
    EXPECT_TRUE(second.transmit.take_used());
    EXPECT_EQ(two.net->counters().tx_packets, 2U);
}

TEST_P(MultiQueue, OffloadsAreEveryBackEnds) {
    Card two = card();
    EXPECT_TRUE(two.back_ends[1]->offloads_now.tso6);
    const std::uint64_t bits = 1U << feature::guest_csum;
    EXPECT_EQ(two.command({5, 0, static_cast<std::uint8_t>(bits), 0, 0, 0, 0, 0, 0, 0}), ok);
    for (const auto& back_end : two.back_ends)
        EXPECT_EQ(back_end->offloads_now, (GuestOffloads{.checksum = true}));
}

TEST_P(MultiQueue, ALimiterIsAllPairsTogether) {
    const protocol::RateLimits slow{.operations = protocol::TokenBucketLimit{2, 0, 60s}};
    Card two = card(2, {.mac = own_mac, .receive = slow, .transmit = slow});
    ASSERT_EQ(two.set_pairs(2), ok);
    for (int i = 0; i < 2; ++i) {
        two.transmit->add({readable(make_frame(60))});
        two.more_pairs[0].transmit.add({readable(make_frame(60))});
        two.receive->add({writable(2000)});
        two.more_pairs[0].receive.add({writable(2000)});
        two.back_ends[0]->give(make_frame(60));
        two.back_ends[1]->give(make_frame(60));
    }
    two.kick_receive();
    two.net->kicked({2});
    two.kick_transmit();
    two.net->kicked({3});
    two.run();
    EXPECT_EQ(two.net->counters().tx_packets, 2U);
    EXPECT_EQ(two.net->counters().rx_packets, 2U);
    two.net->change_limits({.operations = protocol::TokenBucketLimit{}}, {.operations = protocol::TokenBucketLimit{}});
    for (int i = 0; i < 500 && two.net->counters().rx_packets + two.net->counters().tx_packets < 8; ++i)
        two.run_for(1ms);
    EXPECT_EQ(two.net->counters().tx_packets, 4U) << "each pair goes on";
    EXPECT_EQ(two.net->counters().rx_packets, 4U);
}

TEST_P(MultiQueue, WhatAnyPairReceivesIsInTheWriteLog) {
    Card two = card();
    ASSERT_EQ(two.set_pairs(2), ok);
    auto& log = two.fake.memory().write_log();
    log.start();
    PageBitmap dirty(two.fake.memory().address_space());
    const GuestAddress at{5U << 20};
    two.more_pairs[0].receive.add({writable_at(at, 65536)});
    two.net->kicked({2});
    two.back_ends[1]->give(make_frame(5000));
    two.run();
    ASSERT_TRUE(two.more_pairs[0].receive.take_used());
    log.take(dirty);
    EXPECT_EQ(dirty.count({frame_of(at), {16}}), PageCount{2});

    // A frame that waits for more buffers, and is lost because its pair is used no more.
    dirty.clear_all();
    two.more_pairs[0].receive.add({writable_at(at, 8192)});
    two.net->kicked({2});
    two.back_ends[1]->give(make_frame(60'000));
    two.run();
    ASSERT_EQ(two.set_pairs(1), ok);
    log.take(dirty);
    EXPECT_EQ(dirty.count({frame_of(at), {16}}), PageCount{2});
    EXPECT_EQ(two.net->counters().rx_fails, 1U);
    EXPECT_EQ(two.more_pairs[0].receive.device().in_flight(), 0);
}

TEST_P(MultiQueue, APauseGivesEveryPairsBuffersBack) {
    Card two = card();
    ASSERT_EQ(two.set_pairs(2), ok);
    two.receive->add({writable(2000)});
    two.more_pairs[0].receive.add({writable(2000)});
    two.kick_receive();
    two.net->kicked({2});
    EXPECT_EQ(two.more_pairs[0].receive.device().in_flight(), 1);
    two.net->pause([] {});
    EXPECT_EQ(two.more_pairs[0].receive.device().in_flight(), 0);
    two.net->resume();
    two.run();
    two.back_ends[1]->give(make_frame(100));
    two.run();
    EXPECT_TRUE(two.more_pairs[0].receive.take_used());
}

TEST_P(MultiQueue, IsSavedAndRestored) {
    Card two = card();
    ASSERT_EQ(two.set_pairs(2), ok);
    two.net->pause([] {});
    const auto saved = two.net->save();
    EXPECT_EQ(saved.version, 2U);

    Card other = card();
    other.net->pause([] {});
    ASSERT_TRUE(other.net->restore(saved));
    EXPECT_EQ(used(other), (std::vector{true, true}));
    other.net->resume();
    other.more_pairs[0].transmit.add({readable(make_frame(60))});
    other.net->kicked({3});
    EXPECT_EQ(other.back_ends[1]->sent.size(), 1U);

    Card refused = card();
    refused.back_ends[1]->refuses_use = true;
    refused.net->pause([] {});
    const auto why = refused.net->restore(saved);
    ASSERT_FALSE(why);
    EXPECT_TRUE(why.error().message.contains("2 queues")) << why.error().message;
}

/// As the first monitors wrote it, before there were several pairs.
TEST_P(MultiQueue, AStateOfTheFirstVersionIsOnePair) {
    Card old = card(1, {.mac = own_mac}, everything);
    old.net->pause([] {});
    const auto saved = old.net->save();
    EXPECT_EQ(saved.version, 1U) << "an older monitor reads what has no pairs";
    ASSERT_EQ(saved.bytes.size(), version_1_sample.size());
    EXPECT_TRUE(std::ranges::equal(saved.bytes, std::as_bytes(std::span(version_1_sample))));

    for (const auto accepted : {everything, everything_and_pairs}) {
        Card two = card(2, {.mac = own_mac}, accepted);
        two.net->pause([] {});
        const auto sample = std::as_bytes(std::span(version_1_sample));
        ASSERT_TRUE(two.net->restore({.version = 1, .bytes = {sample.begin(), sample.end()}}));
        EXPECT_EQ(used(two), (std::vector{true, false}));
    }
}

TEST_P(MultiQueue, N29_OnlyAPairCountFromOneToAllIsTaken) {
    Card three = card(3);
    ASSERT_EQ(three.set_pairs(2), ok);
    for (const unsigned pairs : {0U, 4U, 255U, 256U, 0x8000U, 65535U}) {
        EXPECT_EQ(three.set_pairs(pairs), error) << pairs;
        EXPECT_EQ(used(three), (std::vector{true, true, false})) << pairs;
    }
    for (const auto& wrong : std::vector<std::vector<std::uint8_t>>{
             {4}, {4, 0}, {4, 0, 3}, {4, 0, 3, 0, 0}, {4, 1, 3, 0}, {4, 2, 3, 0}, std::vector<std::uint8_t>(64, 4)})
        EXPECT_EQ(three.command(wrong), error) << wrong.size();
    EXPECT_EQ(used(three), (std::vector{true, true, false}));
    EXPECT_EQ(three.net->counters().control_refused, 13U);
    for (const unsigned pairs : {3U, 1U, 1U, 3U})
        EXPECT_EQ(three.set_pairs(pairs), ok);
    EXPECT_EQ(used(three), (std::vector{true, true, true}));
    EXPECT_TRUE(three.host.faults.empty());
}

TEST_P(MultiQueue, N29_APairThatTheHostRefusesChangesNothing) {
    Card three = card(3);
    three.back_ends[2]->refuses_use = true;
    EXPECT_EQ(three.set_pairs(3), error);
    EXPECT_EQ(used(three), (std::vector{true, false, false}));
    EXPECT_EQ(three.set_pairs(2), ok);
    EXPECT_EQ(three.set_pairs(3), error);
    EXPECT_EQ(used(three), (std::vector{true, true, false}));
}

TEST_P(MultiQueue, N30_AKickOfAPairThatIsNotUsedSendsAndReceivesNothing) {
    Card two = card();
    Card::Pair& second = two.more_pairs[0];
    for (int i = 0; i < 3; ++i)
        second.transmit.add({readable(make_frame(60))});
    second.receive.add({writable(2000)});
    two.back_ends[1]->give(make_frame(100));
    for (const std::uint16_t queue : std::initializer_list<std::uint16_t>{2, 3, 5, 6, 65535})
        two.net->kicked({queue});
    two.run();
    EXPECT_TRUE(two.back_ends[0]->sent.empty() && two.back_ends[1]->sent.empty());
    for (int i = 0; i < 3; ++i)
        EXPECT_TRUE(second.transmit.take_used()) << "the driver has its buffer again";
    EXPECT_EQ(two.net->counters().tx_fails, 3U);
    EXPECT_EQ(two.back_ends[1]->receives, 0U);
    EXPECT_TRUE(two.host.kicks_again.empty());
}

/// Also of a pair whose back end was full, or that the limiter holds back.
TEST_P(MultiQueue, N30_FramesOfAPairThatIsUsedNoMoreAreTheDriversAgain) {
    const protocol::RateLimits slow{.operations = protocol::TokenBucketLimit{1, 0, 60s}};
    for (const bool full : {false, true}) {
        Card two = card(2, {.mac = own_mac, .transmit = full ? protocol::RateLimits{} : slow});
        ASSERT_EQ(two.set_pairs(2), ok);
        if (full)
            two.back_ends[1]->be_full();
        for (int i = 0; i < 3; ++i)
            two.more_pairs[0].transmit.add({readable(make_frame(60))});
        two.net->kicked({3});
        two.run();
        EXPECT_EQ(two.more_pairs[0].transmit.device().available(), full ? 3 : 2);
        ASSERT_EQ(two.set_pairs(1), ok);
        two.run();
        for (int i = 0; i < 3; ++i)
            EXPECT_TRUE(two.more_pairs[0].transmit.take_used()) << i;
        two.back_ends[1]->make_room();
        two.run();
        EXPECT_EQ(two.back_ends[1]->sent.size(), full ? 0U : 1U);
    }
}

TEST_P(MultiQueue, N31_WithoutAControlQueueThereIsOnePair) {
    Card two = card(2, {.mac = own_mac}, everything_and_pairs.with(feature::control_queue, false));
    const std::array<std::uint8_t, 4> set{4, 0, 2, 0};
    two.control->add({readable(set), writable(1)});
    two.kick_control();
    two.run();
    EXPECT_FALSE(two.control->take_used()) << "the queue is none";
    EXPECT_TRUE(two.host.kicks_again.empty()) << "and nothing turns for what is there";
    EXPECT_EQ(used(two), (std::vector{true, false}));
    two.transmit->add({readable(make_frame(60))});
    two.kick_transmit();
    EXPECT_EQ(two.back_ends[0]->sent.size(), 1U);
}

TEST_P(MultiQueue, N31_ADriverThatDeclinesHasItsControlQueueBehindThePair) {
    Card two = card(2, {.mac = own_mac}, everything);
    EXPECT_EQ(two.control_index, 2);
    EXPECT_EQ(two.set_pairs(1), error) << "it was not negotiated";
    EXPECT_EQ(two.set_pairs(2), error);
    EXPECT_EQ(two.command({5, 0, 0, 0, 0, 0, 0, 0, 0, 0}), ok);
}

TEST_P(MultiQueue, N32_AResetAmidTrafficReturnsToOnePair) {
    Card two = card();
    ASSERT_EQ(two.set_pairs(2), ok);
    two.more_pairs[0].receive.add({writable(500)});
    two.net->kicked({2});
    two.back_ends[1]->give(make_frame(2000)); // waits for more buffers
    two.back_ends[1]->give(make_frame(100));
    two.back_ends[1]->be_full();
    two.more_pairs[0].transmit.add({readable(make_frame(60))});
    two.net->kicked({3});
    two.run();
    two.net->reset();
    EXPECT_EQ(used(two), (std::vector{true, false}));
    for (const auto& back_end : two.back_ends)
        EXPECT_EQ(back_end->offloads_now, GuestOffloads{});
    two.back_ends[1]->make_room();
    two.run();
    two.activate();
    EXPECT_EQ(used(two), (std::vector{true, false}));
    two.more_pairs[0].receive.add({writable(4000)});
    two.net->kicked({2});
    two.run();
    EXPECT_FALSE(two.more_pairs[0].receive.take_used());
    ASSERT_EQ(two.set_pairs(2), ok);
    two.run();
    EXPECT_EQ(two.more_pairs[0].receive.take_used()->written, header::size + 100) << "the one that waited is forgotten";
}

/// The same memory for two queues of a card: the guest harms itself, and nobody else.
TEST_P(MultiQueue, N33_ARingThatIsTwoQueuesIsItsGuestsHarm) {
    Card two = card();
    const virtio::FeatureSet features{GetParam().bits | everything_and_pairs.bits};
    const auto again = [&](const FakeQueue& queue) {
        return virtio::make_virtqueue(queue.registers(), {}, features, two.fake.memory());
    };
    const auto receive = again(*two.receive);
    const auto transmit = again(*two.transmit);
    virtio::Virtqueue* const queues[] = {&two.receive->device(), &two.transmit->device(), receive.get(), transmit.get(),
                                         &two.control->device()};
    two.net->reset();
    two.net->activate({features, queues, &two.host});
    ASSERT_EQ(two.set_pairs(2), ok);
    for (int i = 0; i < 4; ++i) {
        two.transmit->add({readable(make_frame(60))});
        two.receive->add({writable(2000)});
        two.back_ends[0]->give(make_frame(60));
        two.back_ends[1]->give(make_frame(60));
    }
    for (const std::uint16_t queue : std::initializer_list<std::uint16_t>{0, 1, 2, 3})
        two.net->kicked({queue});
    two.run();
    EXPECT_EQ(two.back_ends[0]->sent.size(), 4U);
    EXPECT_GE(two.net->counters().rx_packets, 4U);
    two.net->pause([] {});
    EXPECT_EQ(two.receive->device().in_flight(), 0);
    EXPECT_EQ(receive->in_flight(), 0);
}

TEST_P(MultiQueue, N20_PairsThatThereAreNotAreRefusedOfAState) {
    Card two = card();
    two.net->pause([] {});
    const auto saved = two.net->save();
    const auto refuses = [&](virtio::DeviceState state, virtio::FeatureSet accepted = everything_and_pairs) {
        Card other = card(2, {.mac = own_mac}, accepted);
        other.net->pause([] {});
        return !other.net->restore(state).has_value() && used(other) == std::vector{true, false};
    };
    const auto with_pairs = [&](std::uint16_t pairs) {
        virtio::DeviceState state = saved;
        store_little_endian(std::span(state.bytes).last(2), pairs);
        return state;
    };
    for (const std::uint16_t pairs : std::initializer_list<std::uint16_t>{0, 3, 0x8000, 65535})
        EXPECT_TRUE(refuses(with_pairs(pairs))) << pairs;
    EXPECT_FALSE(refuses(with_pairs(1)));
    EXPECT_TRUE(refuses(with_pairs(2), everything)) << "its driver has not accepted several";
    for (std::size_t size = 0; size < saved.bytes.size(); ++size)
        EXPECT_TRUE(
            refuses({.version = 2, .bytes = {saved.bytes.begin(), saved.bytes.begin() + static_cast<long>(size)}}));
    EXPECT_TRUE(refuses({.version = 3, .bytes = saved.bytes}));
}

} // namespace
} // namespace aerate
