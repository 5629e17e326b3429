// What a hostile guest may do to its network card: docs/hostile-inputs.md, N.
#include "net/net.hpp"
#include "net/testing/card.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <vector>

namespace aerate {
namespace {

using namespace net;
using namespace net::testing;
using namespace std::chrono_literals;

class HostileNet : public ::testing::TestWithParam<virtio::FeatureSet> {};
INSTANTIATE_TEST_SUITE_P(Rings, HostileNet, ::testing::Values(split_ring_with_events, packed_ring_with_events));

/// One chain is used, empty, and nothing was sent.
void expect_dropped(Card& card) {
    const auto used = card.transmit->take_used();
    ASSERT_TRUE(used);
    EXPECT_EQ(used->written, 0U);
    EXPECT_TRUE(card.back_end->sent.empty());
    EXPECT_TRUE(card.host.faults.empty());
    EXPECT_EQ(card.net->counters().tx_malformed_frames, 1U);
}

TEST_P(HostileNet, N1_AFrameWithoutWholeAddressesIsDropped) {
    for (const std::size_t size : {0U, 1U, 11U, 12U, 25U}) {
        Card card(GetParam());
        card.transmit->add({readable(Bytes(size))});
        card.kick_transmit();
        expect_dropped(card);
    }
}

TEST_P(HostileNet, N2_AFrameThatIsTooLongIsDropped) {
    Card card(GetParam());
    card.transmit->add({readable(make_frame(65551))});
    card.kick_transmit();
    expect_dropped(card);
}

TEST_P(HostileNet, N3_LengthsThatAddUpToFourGigabytesAreDropped) {
    Card card(GetParam());
    std::vector<FakeBuffer> chain(64, readable_at({1U << 20}, 8U << 20));
    card.transmit->add(chain);
    card.kick_transmit();
    expect_dropped(card);
    std::vector<FakeBuffer> empty(200, readable_at({1U << 20}, 0));
    empty.push_back(readable(make_frame(60)));
    card.transmit->add(empty);
    card.kick_transmit();
    EXPECT_EQ(card.back_end->sent.size(), 1U) << "buffers without a byte are none";
}

TEST_P(HostileNet, N4_BuffersThatAreNotRamAreDropped) {
    for (const std::uint64_t address : {1ULL << 40, ~0ULL - 8, (16ULL << 20) - 16, 1ULL << 30}) {
        Card card(GetParam());
        card.transmit->add({readable(make_frame(60)), readable_at({address}, 64)});
        card.kick_transmit();
        expect_dropped(card);
    }
}

TEST_P(HostileNet, N5_AFrameWithRoomForAnAnswerIsNone) {
    Card card(GetParam());
    card.transmit->add({readable(make_frame(60)), writable(16)});
    card.kick_transmit();
    expect_dropped(card);
}

TEST_P(HostileNet, N6_AFrameThatTheHostRefusesIsCountedAndUsed) {
    Card card(GetParam());
    card.back_end->send_outcome = Outcome::dropped;
    for (int i = 0; i < 3; ++i)
        card.transmit->add({readable(make_frame(60))});
    card.kick_transmit();
    for (int i = 0; i < 3; ++i)
        EXPECT_TRUE(card.transmit->take_used());
    EXPECT_EQ(card.net->counters().tap_write_fails, 3U);
}

/// What is looked at is a copy, and the copy is what is sent.
TEST_P(HostileNet, N7_AddressesThatAreRewrittenMeanwhileChangeNothing) {
    Card card(GetParam());
    const Bytes frame = make_frame(200);
    const GuestAddress at{3U << 20};
    ASSERT_TRUE(card.fake.memory().write(at, frame));
    card.transmit->add({readable_at(at, static_cast<std::uint32_t>(frame.size()))});
    const auto chain = *card.transmit->device().pop();
    TransmitFrame sent;
    ASSERT_TRUE(sent.assign(card.fake.memory(), *chain));
    EXPECT_TRUE(sent.is_from(own_mac));
    ASSERT_TRUE(card.fake.memory().fill(at, {frame.size()}, std::byte{0xff}));
    Bytes out;
    for (const iovec& piece : sent.pieces()) {
        const auto* const bytes = static_cast<const std::byte*>(piece.iov_base);
        out.insert(out.end(), bytes, bytes + piece.iov_len);
    }
    ASSERT_EQ(out.size(), frame.size());
    const std::size_t head = header::size + ethernet_header_size;
    EXPECT_TRUE(std::ranges::equal(std::span(out).first(head), std::span(frame).first(head)));
}

TEST_P(HostileNet, N8_AnotherSourceIsCountedAndDroppedOnRequest) {
    for (const bool drop : {false, true}) {
        Card card(GetParam(), everything, {.mac = own_mac, .drop_spoofed = drop});
        card.transmit->add({readable(make_frame(60, {2, 0, 0, 0, 0, 2}))});
        card.transmit->add({readable(make_frame(60))});
        card.kick_transmit();
        EXPECT_EQ(card.net->counters().tx_spoofed_mac, 1U);
        EXPECT_EQ(card.back_end->sent.size(), drop ? 1U : 2U);
        EXPECT_TRUE(card.transmit->take_used());
        EXPECT_TRUE(card.transmit->take_used());
    }
}

TEST_P(HostileNet, N9_ReceiveBuffersThatCanHoldNothingAreReturnedEmpty) {
    Card card(GetParam());
    const std::vector<std::vector<FakeBuffer>> useless{{readable(Bytes(64))},
                                                       {readable(Bytes(64)), writable(2000)},
                                                       {writable_at({1ULL << 40}, 2000)},
                                                       {writable_at({~0ULL - 4}, 8)},
                                                       {writable(11)},
                                                       {writable(0)}};
    for (const auto& chain : useless)
        card.receive->add(chain);
    card.receive->add({writable(2000)});
    card.kick_receive();
    card.run();
    card.back_end->give(make_frame(100));
    card.run();
    for (std::size_t i = 0; i < useless.size(); ++i)
        EXPECT_EQ(card.receive->take_used()->written, 0U);
    EXPECT_EQ(card.receive->take_used()->written, header::size + 100);
    EXPECT_TRUE(card.host.faults.empty());
}

TEST_P(HostileNet, N9_UselessBuffersBetweenOthersCanBeGivenBack) {
    Card card(GetParam());
    card.receive->add({writable(600)});
    card.receive->add({readable(Bytes(64))});
    card.receive->add({writable(600)});
    card.kick_receive();
    card.net->pause([] {});
    EXPECT_EQ(card.receive->device().in_flight(), 0);
    EXPECT_EQ(card.receive->device().available(), 3) << "each of them, once";
    card.net->resume();
    card.run();
    card.back_end->give(make_frame(1000));
    card.run();
    unsigned used = 0;
    while (card.receive->take_used())
        ++used;
    EXPECT_EQ(used, 3U);
}

TEST_P(HostileNet, N10_TheSamePageInManyBuffersHarmsOnlyTheGuest) {
    Card card(GetParam());
    for (int i = 0; i < 60; ++i)
        card.receive->add({writable_at({4U << 20}, 2048), writable_at({(4U << 20) + 100}, 2048)});
    card.kick_receive();
    for (int i = 0; i < 20; ++i)
        card.back_end->give(make_frame(static_cast<std::size_t>(i) * 300 + 14));
    card.run();
    EXPECT_EQ(card.net->counters().rx_packets, 20U);
}

TEST_P(HostileNet, N11_AFrameThatItsOneBufferDoesNotHoldIsLost) {
    Card card(GetParam(), virtio::FeatureSet{});
    card.receive->add({writable(200)});
    card.receive->add({writable(2000)});
    card.kick_receive();
    card.back_end->give(make_frame(1000));
    card.back_end->give(make_frame(100));
    card.run();
    const auto used = card.receive->take_used();
    ASSERT_TRUE(used);
    EXPECT_EQ(used->written, header::size + 100) << "the buffer is used for the next one";
    EXPECT_EQ(load_little_endian<std::uint16_t>(std::span(used->bytes).subspan(header::num_buffers)), 1);
    EXPECT_EQ(card.net->counters().rx_fails, 1U);
}

TEST_P(HostileNet, N12_BuffersOfAFewBytesEachDoNotKeepTheLoopTurning) {
    Card card(GetParam());
    std::vector<FakeBuffer> crumbs(12, writable(1));
    for (int i = 0; i < 20; ++i)
        card.receive->add(crumbs);
    card.kick_receive();
    card.back_end->give(make_frame(60'000));
    card.back_end->give(make_frame(60'000));
    for (int i = 0; i < 200; ++i)
        card.run(1);
    EXPECT_TRUE(card.host.kicks_again.empty());
    // Room for 240 bytes: a frame of that size is still received.
    card.back_end->give(make_frame(100));
    card.run();
    EXPECT_LE(card.net->counters().rx_packets, 1U);
    card.net->pause([] {});
    EXPECT_EQ(card.receive->device().in_flight(), 0);
}

TEST_P(HostileNet, N13_TheNumberOfBuffersIsWrittenHoweverTheHeaderIsSplit) {
    Card card(GetParam());
    card.receive->add({writable(5), writable(6), writable(500)});
    card.receive->add({writable(2000)});
    Bytes frame = make_frame(1000);
    frame[header::num_buffers] = std::byte{0xee}; // what the back end had there
    frame[header::num_buffers + 1] = std::byte{0xee};
    card.kick_receive();
    card.back_end->give(frame);
    card.run();
    const auto used = card.receive->take_used();
    ASSERT_TRUE(used);
    EXPECT_EQ(load_little_endian<std::uint16_t>(std::span(used->bytes).subspan(header::num_buffers)), 2);
}

TEST_P(HostileNet, N14_AResetForgetsAFrameThatWaits) {
    Card card(GetParam());
    card.receive->add({writable(500)});
    card.kick_receive();
    card.back_end->give(make_frame(2000));
    card.run();
    card.net->reset();
    card.run();
    card.activate();
    card.receive->add({writable(4000)});
    card.kick_receive();
    card.run();
    EXPECT_FALSE(card.receive->take_used());
    card.back_end->give(make_frame(100));
    card.run();
    EXPECT_EQ(card.receive->take_used()->written, header::size + 100);
}

TEST_P(HostileNet, N14_AFrameForABrokenRingDoesNotKeepTheLoopTurning) {
    Card card(GetParam());
    card.receive->add({writable(500)});
    card.kick_receive();
    // The transmit ring breaks, and the device stands still until its reset.
    const auto registers = card.transmit->registers();
    const bool packed = GetParam().has(virtio::feature::ring_packed);
    if (packed) {
        card.transmit->add({readable(make_frame(60))});
        const std::array<std::byte, 2> id{std::byte{0xff}, std::byte{0xff}}; // no such buffer ID
        ASSERT_TRUE(card.fake.memory().write({registers.descriptors.value + 12}, id));
    } else {
        const std::array<std::byte, 2> index{std::byte{0xff}, std::byte{0x7f}};
        ASSERT_TRUE(card.fake.memory().write({registers.driver.value + 2}, index));
    }
    card.kick_transmit();
    ASSERT_EQ(card.host.faults.size(), 1U);
    card.back_end->give(make_frame(100));
    card.loop.context().restart();
    EXPECT_LE(card.loop.context().poll(), 5U);
    EXPECT_EQ(card.back_end->to_guest.size(), 1U);
    card.net->reset();
    card.activate();
    card.receive->add({writable(500)});
    card.kick_receive();
    EXPECT_TRUE(card.receive->take_used());
}

TEST_P(HostileNet, N15_APauseInTheMiddleOfAFrameLosesItAndKeepsTheBuffers) {
    Card card(GetParam());
    card.receive->add({writable(500)});
    card.kick_receive();
    card.back_end->give(make_frame(2000));
    card.run();
    bool quiet = false;
    card.net->pause([&] { quiet = true; });
    EXPECT_TRUE(quiet);
    EXPECT_EQ(card.receive->device().available(), 1);
    EXPECT_EQ(card.net->counters().rx_fails, 1U);
    card.net->resume();
    card.run();
    card.back_end->give(make_frame(100));
    card.run();
    EXPECT_EQ(card.receive->take_used()->written, header::size + 100);
}

TEST_P(HostileNet, N20_SavedStateThatIsDamagedIsRefused) {
    Card card(GetParam());
    card.net->pause([] {});
    const auto saved = card.net->save();
    const auto refuses = [&](virtio::DeviceState state, virtio::FeatureSet accepted = everything) {
        Card other(GetParam(), accepted);
        other.net->pause([] {});
        return !other.net->restore(state).has_value();
    };
    EXPECT_FALSE(refuses(saved));
    EXPECT_TRUE(refuses(saved, virtio::FeatureSet{})) << "offloads that this driver did not accept";
    EXPECT_TRUE(refuses({.version = 0, .bytes = saved.bytes}));
    EXPECT_TRUE(refuses({.version = 2, .bytes = saved.bytes}));
    for (std::size_t size = 0; size < saved.bytes.size(); ++size)
        EXPECT_TRUE(
            refuses({.version = 1, .bytes = {saved.bytes.begin(), saved.bytes.begin() + static_cast<long>(size)}}));
    // Whatever the bytes are: no more than a refusal.
    std::mt19937 random(20);
    for (int i = 0; i < 2000; ++i) {
        auto damaged = saved;
        for (int j = 0; j < 4; ++j)
            damaged.bytes[random() % damaged.bytes.size()] = static_cast<std::byte>(random());
        (void)refuses(damaged);
    }
}

} // namespace
} // namespace aerate
