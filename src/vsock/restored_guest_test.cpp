// Pauses, snapshots and moves: what a guest is told of connections whose other end is not there any more.
#include "vsock/testing/guest.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace aerate::vsock {
namespace {

using namespace testing;

/// A restored guest notices at once.
void notice_reset(Guest& guest) {
    EXPECT_EQ(guest.events(), std::vector<std::uint32_t>{0});
}

TEST(RestoredVsock, TheGuestIsToldFirstThenOfEachConnectionThenOfNewOnes) {
    Guest guest;
    auto [ports, host] = guest.host_calls();
    auto [other_ports, other] = guest.guest_calls(5000, 1);
    ASSERT_TRUE(guest.save_and_restore());
    EXPECT_TRUE(guest.events(false).empty()) << "nothing is written before it goes on";
    guest.resume();
    HostSocket fresh = guest.connect();
    fresh.say("CONNECT 52\n");
    EXPECT_TRUE(guest.hears_nothing()) << "a connection of now would end with those of before";
    notice_reset(guest);
    const auto first = guest.next();
    const auto second = guest.next();
    const auto third = guest.next();
    ASSERT_TRUE(first && second && third);
    EXPECT_EQ(first->header.op, Op::rst);
    EXPECT_EQ(second->header.op, Op::rst);
    const std::set<std::uint32_t> reset{first->header.source_port, second->header.source_port};
    EXPECT_EQ(reset, (std::set<std::uint32_t>{ports.host, other_ports.host}));
    EXPECT_EQ(third->header.op, Op::request);
    EXPECT_EQ(third->header.source_port, ports.host + 1) << "no port that the guest may still know";
}

TEST(RestoredVsock, AGuestsCallWorksAtOnce) {
    Guest guest;
    auto before = guest.host_calls();
    ASSERT_TRUE(guest.save_and_restore());
    guest.resume();
    notice_reset(guest);
    auto [ports, host] = guest.guest_calls(5000, 7);
    host.say("at once");
    EXPECT_EQ(text_of(guest.next(Op::rw).value().payload), "at once");
}

TEST(RestoredVsock, AKickAloneIsNoNotice) {
    Guest guest;
    auto before = guest.host_calls();
    ASSERT_TRUE(guest.save_and_restore());
    guest.resume();
    HostSocket fresh = guest.connect();
    fresh.say("CONNECT 52\n");
    for (int i = 0; i < 3; ++i)
        guest.device().kicked(Vsock::event);
    EXPECT_TRUE(guest.hears_nothing());
    notice_reset(guest);
    EXPECT_TRUE(guest.next());
}

TEST(RestoredVsock, TheKickOfTheNoticeIsWanted) {
    for (const virtio::FeatureSet ring : {split_ring_with_events, packed_ring_with_events}) {
        Guest guest{{.ring = ring}};
        ASSERT_TRUE(guest.save_and_restore());
        guest.resume();
        EXPECT_EQ(guest.events(false).size(), 1U);
        guest.event_queue().add({writable(4)});
        EXPECT_TRUE(guest.event_queue().kick_wanted());
    }
}

TEST(RestoredVsock, AGuestThatNeverNoticesIsServedAfterAWhile) {
    Guest guest{{.options = {.reset_patience = std::chrono::milliseconds(50)}}};
    auto [ports, host] = guest.host_calls();
    ASSERT_TRUE(guest.save_and_restore());
    guest.resume();
    EXPECT_EQ(guest.next().value().header.op, Op::rst);
    const auto metrics = guest.device().metrics();
    const auto counted = std::ranges::find(metrics, "vsock_resets_not_noticed", &virtio::Metric::name);
    ASSERT_NE(counted, metrics.end());
    EXPECT_EQ(counted->value, 1U);
}

TEST(RestoredVsock, ABarePauseIsNoReset) {
    Guest guest;
    auto [ports, host] = guest.host_calls();
    std::mt19937 random(3); // NOLINT
    std::string sent;
    std::string received;
    for (int round = 0; round < 100; ++round) {
        const std::string piece(1 + random() % 3000, static_cast<char>('a' + round % 26));
        sent += piece;
        host.say(piece);
        EXPECT_TRUE(guest.pause());
        EXPECT_EQ(guest.rx_queue().device().in_flight(), 0U);
        guest.resume();
        guest.send(Guest::packet(ports, Op::rw), bytes_of("."));
        ASSERT_TRUE(guest.until([&] {
            for (const Packet& packet : guest.packets())
                received += text_of(packet.payload);
            return received.size() == sent.size();
        }));
        Header update = Guest::packet(ports, Op::credit_update);
        update.forwarded = static_cast<std::uint32_t>(received.size());
        guest.send(update);
    }
    EXPECT_EQ(received, sent);
    guest.settle();
    EXPECT_EQ(host.heard(), std::string(100, '.'));
    EXPECT_TRUE(guest.events().empty());
}

TEST(RestoredVsock, TheOneThatWasSavedKeepsItsConnections) {
    Guest guest;
    auto [ports, host] = guest.host_calls();
    EXPECT_TRUE(guest.pause());
    EXPECT_EQ(guest.device().save().version, 1U);
    guest.resume();
    EXPECT_TRUE(guest.events().empty());
    host.say("still here");
    EXPECT_EQ(text_of(guest.next(Op::rw).value().payload), "still here");
}

TEST(RestoredVsock, ItIsToldOnceThoughItIsSavedAgainBeforeItNotices) {
    Guest guest;
    auto [ports, host] = guest.host_calls();
    ASSERT_TRUE(guest.save_and_restore());
    ASSERT_TRUE(guest.save_and_restore()) << "before it went on";
    guest.resume();
    ASSERT_TRUE(guest.save_and_restore()) << "before it noticed";
    guest.resume();
    EXPECT_TRUE(guest.hears_nothing());
    notice_reset(guest);
    EXPECT_EQ(guest.next().value().header.op, Op::rst);
}

TEST(RestoredVsock, APauseBeforeItNoticesKeepsTheGateShut) {
    Guest guest;
    auto before = guest.host_calls();
    ASSERT_TRUE(guest.save_and_restore());
    guest.resume();
    EXPECT_TRUE(guest.pause());
    guest.resume();
    EXPECT_TRUE(guest.hears_nothing());
    notice_reset(guest);
    EXPECT_TRUE(guest.next());
}

TEST(RestoredVsock, APacketThatWasAvailableAndNotTakenIsTaken) {
    Guest guest;
    EXPECT_TRUE(guest.pause());
    guest.send(Guest::packet({.host = 99, .guest = 1}, Op::request));
    ASSERT_TRUE(guest.save_and_restore());
    guest.resume();
    notice_reset(guest);
    EXPECT_EQ(guest.next().value().header.op, Op::rst);
}

TEST(RestoredVsock, ACallThatWasNotAnsweredIsGone) {
    Guest guest;
    HostSocket host = guest.connect();
    host.say("CONNECT 52\n");
    const auto request = guest.next(Op::request);
    ASSERT_TRUE(request);
    ASSERT_TRUE(guest.save_and_restore());
    guest.resume();
    EXPECT_EQ(host.heard(), "");
    EXPECT_TRUE(host.at_end());
    notice_reset(guest);
    EXPECT_EQ(guest.next().value().header.op, Op::rst);
    guest.send(Guest::packet({.host = request->header.source_port, .guest = 52}, Op::response));
    EXPECT_EQ(guest.next().value().header.op, Op::rst) << "an answer too late";
}

TEST(RestoredVsock, WithoutADriverNobodyIsToldAndCallsAreRefused) {
    Guest guest;
    guest.device().reset();
    HostSocket host = guest.connect();
    EXPECT_TRUE(guest.until([&] { return host.heard().empty() && host.at_end(); }));
    EXPECT_TRUE(guest.pause());
    const auto saved = guest.device().save();
    guest.make_device();
    EXPECT_TRUE(guest.pause());
    ASSERT_TRUE(guest.device().restore(saved));
    guest.device().resume();
    guest.activate();
    EXPECT_TRUE(guest.hears_nothing());
}

TEST(RestoredVsock, AResetOfTheDeviceEndsItsConnections) {
    Guest guest;
    auto [ports, host] = guest.host_calls();
    guest.device().reset();
    EXPECT_EQ(host.heard(), "");
    EXPECT_TRUE(host.at_end());
    EXPECT_EQ(guest.device().connections().connections(), 0U);
}

TEST(RestoredVsock, AMalformedStateIsRefused) {
    Guest guest;
    auto before = guest.host_calls();
    EXPECT_TRUE(guest.pause());
    const auto saved = guest.device().save();
    for (std::size_t length = 0; length < saved.bytes.size(); ++length) {
        auto cut = saved;
        cut.bytes.resize(length);
        EXPECT_FALSE(guest.device().restore(cut));
    }
    auto longer = saved;
    longer.bytes.push_back({});
    EXPECT_FALSE(guest.device().restore(longer));
    auto newer = saved;
    newer.version = 2;
    EXPECT_FALSE(guest.device().restore(newer));
    EXPECT_TRUE(guest.device().restore(saved));
}

TEST(RestoredVsock, TwoHundredRoundsUnderTraffic) {
    Guest guest;
    std::mt19937 random(5); // NOLINT
    for (int round = 0; round < 200; ++round) {
        auto [ports, host] = guest.host_calls(52);
        host.say(std::string(1 + random() % 60'000, 'x'));
        guest.send(Guest::packet(ports, Op::rw), bytes_of(std::string(random() % 4000, 'y')));
        if (random() % 2 == 0)
            guest.settle();
        ASSERT_TRUE(guest.save_and_restore());
        guest.resume();
        (void)guest.packets();
        notice_reset(guest);
        bool reset = false;
        ASSERT_TRUE(guest.until([&] {
            for (const Packet& packet : guest.packets())
                reset |= packet.header.op == Op::rst && packet.header.source_port == ports.host;
            return reset;
        })) << round;
    }
    EXPECT_TRUE(guest.host().faults.empty());
}

} // namespace
} // namespace aerate::vsock
