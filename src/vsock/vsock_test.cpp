// Connections between true sockets on the host and a make-believe driver in the guest.
#include "vsock/testing/guest.hpp"

#include <gtest/gtest.h>

namespace aerate::vsock {
namespace {

using namespace testing;

class VsockTest : public ::testing::TestWithParam<virtio::FeatureSet> {
protected:
    Guest guest{{.ring = GetParam()}};
};

INSTANTIATE_TEST_SUITE_P(Rings, VsockTest,
                         ::testing::Values(split_ring, split_ring_with_events, packed_ring_with_events));

TEST_P(VsockTest, ConfigSpaceHasTheCid) {
    std::array<std::byte, 12> config{};
    guest.device().read_config(0, config);
    EXPECT_EQ(load_little_endian<std::uint64_t>(config), guest_cid);
    EXPECT_EQ(load_little_endian<std::uint32_t>(std::span(config).subspan(8)), 0U);
}

TEST_P(VsockTest, AHostsCallCarriesBytesBothWays) {
    auto [ports, host] = guest.host_calls(52);
    EXPECT_EQ(ports.guest, 52U);
    EXPECT_EQ(ports.host, Multiplexer::first_host_port);
    host.say("hello");
    const auto said = guest.next(Op::rw);
    ASSERT_TRUE(said);
    EXPECT_EQ(text_of(said->payload), "hello");
    EXPECT_EQ(said->header.source_cid, host_cid);
    EXPECT_EQ(said->header.destination_cid, guest_cid);
    guest.send(Guest::packet(ports, Op::rw), bytes_of("hello yourself"));
    guest.settle();
    EXPECT_EQ(host.heard(), "hello yourself");
}

TEST_P(VsockTest, AGuestsCallCarriesBytesBothWays) {
    auto [ports, host] = guest.guest_calls(5000, 1234);
    guest.send(Guest::packet(ports, Op::rw), bytes_of("ping"));
    guest.settle();
    EXPECT_EQ(host.heard(), "ping");
    host.say("pong");
    EXPECT_EQ(text_of(guest.next(Op::rw).value().payload), "pong");
}

TEST_P(VsockTest, WhatFollowsTheCommandAtOnceIsTheGuests) {
    HostSocket host = guest.connect();
    host.say("CONNECT 7\nGET / HTTP/1.0\n");
    const auto request = guest.next(Op::request);
    ASSERT_TRUE(request);
    EXPECT_TRUE(guest.hears_nothing()) << "data before the answer";
    const Ports ports{.host = request->header.source_port, .guest = 7};
    guest.send(Guest::packet(ports, Op::response));
    EXPECT_EQ(text_of(guest.next(Op::rw).value().payload), "GET / HTTP/1.0\n");
    EXPECT_EQ(host.heard(), fmt::format("OK {}\n", ports.host));
}

TEST_P(VsockTest, ACallThatTheGuestRefusesIsClosed) {
    HostSocket host = guest.connect();
    host.say("CONNECT 7\n");
    const auto request = guest.next(Op::request);
    ASSERT_TRUE(request);
    guest.send(Guest::packet({.host = request->header.source_port, .guest = 7}, Op::rst));
    EXPECT_TRUE(guest.until([&] { return host.heard().empty() && host.at_end(); }));
    EXPECT_EQ(guest.device().connections().connections(), 0U);
}

TEST_P(VsockTest, ACallOfAPortOnWhichNobodyListensIsReset) {
    guest.send(Guest::packet({.host = 99, .guest = 1000}, Op::request));
    const auto answer = guest.next();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->header.op, Op::rst);
    EXPECT_EQ(answer->header.source_port, 99U);
    EXPECT_EQ(answer->header.destination_port, 1000U);
}

TEST_P(VsockTest, ManySmallAndLargePiecesArriveInOrder) {
    auto [ports, host] = guest.host_calls();
    std::string sent;
    std::string received;
    for (std::size_t length = 1; length < 20'000; length = length * 3 + 1) {
        const std::string piece(length, static_cast<char>('a' + length % 26));
        sent += piece;
        host.say(piece);
    }
    std::uint32_t forwarded = 0;
    ASSERT_TRUE(guest.until([&] {
        for (const Packet& packet : guest.packets()) {
            received += text_of(packet.payload);
            forwarded += packet.header.length;
            EXPECT_EQ(packet.payload.size(), packet.header.length);
        }
        return received.size() == sent.size();
    }));
    EXPECT_EQ(received, sent);
}

TEST_P(VsockTest, ADriverThatSplitsItsPacketsIsUnderstood) {
    auto [ports, host] = guest.host_calls();
    Header header = Guest::packet(ports, Op::rw);
    header.length = 6;
    const auto head = encode(header);
    const auto part = [&](std::size_t from, std::size_t length) {
        return readable(std::span(head).subspan(from, length));
    };
    guest.tx_queue().add({part(0, 1), part(1, 42), readable(std::span<const std::byte>{}), part(43, 1),
                          readable(bytes_of("abc")), readable(bytes_of("defGHI"))});
    guest.device().kicked(Vsock::tx);
    guest.settle();
    EXPECT_EQ(host.heard(), "abcdef") << "what is beyond the length is no payload";
}

TEST_P(VsockTest, TheHostsEndClosesOneDirectionOnly) {
    auto [ports, host] = guest.host_calls();
    host.say("last words");
    host.shut_writing();
    EXPECT_EQ(text_of(guest.next(Op::rw).value().payload), "last words");
    const auto shutdown = guest.next(Op::shutdown);
    ASSERT_TRUE(shutdown);
    EXPECT_EQ(shutdown->header.flags, shutdown_flag::sends_no_more);
    guest.send(Guest::packet(ports, Op::rw), bytes_of("the answer"));
    guest.settle();
    EXPECT_EQ(host.heard(), "the answer");
    guest.send(Guest::packet(ports, Op::shutdown, shutdown_flag::both));
    EXPECT_TRUE(guest.next(Op::rst));
    EXPECT_EQ(host.heard(), "");
    EXPECT_TRUE(host.at_end());
}

TEST_P(VsockTest, TheGuestsEndClosesOneDirectionOnly) {
    auto [ports, host] = guest.guest_calls(5000, 1);
    guest.send(Guest::packet(ports, Op::rw), bytes_of("request"));
    guest.send(Guest::packet(ports, Op::shutdown, shutdown_flag::sends_no_more));
    EXPECT_EQ(host.heard(), "request");
    EXPECT_EQ(host.heard(), "");
    EXPECT_TRUE(host.at_end());
    host.say("answer");
    EXPECT_EQ(text_of(guest.next(Op::rw).value().payload), "answer");
    host.close();
    EXPECT_EQ(guest.next(Op::shutdown).value().header.flags, shutdown_flag::both);
    guest.send(Guest::packet(ports, Op::rst));
    EXPECT_EQ(guest.device().connections().connections(), 0U);
}

TEST_P(VsockTest, AHostThatDiesWithDataUnderWayLeavesWhatItSent) {
    auto [ports, host] = guest.host_calls();
    host.say(std::string(64U << 10, 'x'));
    host.close();
    std::size_t received = 0;
    std::uint32_t flags = 0;
    ASSERT_TRUE(guest.until([&] {
        for (const Packet& packet : guest.packets()) {
            received += packet.payload.size();
            flags |= packet.header.op == Op::shutdown ? packet.header.flags : 0;
        }
        return flags == shutdown_flag::both;
    }));
    EXPECT_EQ(received, 64U << 10);
    EXPECT_TRUE(guest.next(Op::rst)) << "two seconds later, as the guest does not let go";
}

TEST_P(VsockTest, WhatTheGuestSentBeforeItHungUpReachesASlowHost) {
    auto [ports, host] = guest.guest_calls(5000, 1);
    const std::string piece(1000, 'y');
    std::size_t sent = 0;
    // Until the socket is full, and some is kept here.
    for (std::uint32_t forwarded = 0; sent - forwarded < Connection::buffer_size - piece.size(); sent += piece.size()) {
        guest.send(Guest::packet(ports, Op::rw), bytes_of(piece));
        for (const Packet& packet : guest.packets())
            forwarded = packet.header.forwarded;
    }
    guest.send(Guest::packet(ports, Op::shutdown, shutdown_flag::both));
    EXPECT_TRUE(guest.next(Op::rst)) << "the guest is let go at once";
    EXPECT_EQ(guest.device().connections().connections(), 0U);
    std::size_t heard = 0;
    EXPECT_TRUE(guest.until([&] {
        heard += host.heard().size();
        return host.at_end();
    }));
    EXPECT_EQ(heard, sent);
}

TEST_P(VsockTest, ASlowHostStopsTheGuestAt64KiB) {
    auto [ports, host] = guest.guest_calls(5000, 1);
    const std::string piece(4000, 'z');
    std::uint32_t sent = 0;
    std::uint32_t forwarded = 0;
    const auto send_what_fits = [&] {
        while (sent - forwarded + piece.size() <= Connection::buffer_size) {
            guest.send(Guest::packet(ports, Op::rw), bytes_of(piece));
            sent += static_cast<std::uint32_t>(piece.size());
            for (const Packet& packet : guest.packets()) {
                EXPECT_NE(packet.header.op, Op::rst);
                forwarded = packet.header.forwarded;
            }
        }
    };
    send_what_fits();
    EXPECT_TRUE(guest.hears_nothing());
    std::size_t heard = 0;
    ASSERT_TRUE(guest.until([&] {
        heard += host.heard().size();
        for (const Packet& packet : guest.packets())
            forwarded = packet.header.forwarded;
        return heard == sent;
    }));
    send_what_fits();
    EXPECT_GT(sent, heard) << "it may go on";
}

TEST_P(VsockTest, ASlowGuestStopsTheHostAtItsBuffer) {
    auto [ports, host] = guest.host_calls();
    Header update = Guest::packet(ports, Op::credit_update);
    update.buffer_size = 10'000;
    guest.send(update);
    host.say(std::string(50'000, 'h'));
    std::size_t received = 0;
    bool asked = false;
    const auto hear = [&] {
        for (const Packet& packet : guest.packets()) {
            received += packet.payload.size();
            asked |= packet.header.op == Op::credit_request;
        }
    };
    EXPECT_TRUE(guest.until([&] {
        hear();
        return asked;
    }));
    guest.serve_for(std::chrono::milliseconds(30));
    hear();
    EXPECT_EQ(received, 10'000U);
    while (received < 50'000) {
        const std::size_t before = received;
        update.forwarded = static_cast<std::uint32_t>(received);
        guest.send(update);
        ASSERT_TRUE(guest.until([&] {
            hear();
            return received > before;
        }));
    }
    EXPECT_EQ(received, 50'000U);
}

TEST_P(VsockTest, WithoutBuffersNothingIsLostAndNobodySpins) {
    constexpr std::size_t volume = 150'000;
    Guest few{{.ring = GetParam(), .rx_buffers = 16}};
    auto [ports, host] = few.host_calls();
    few.refill(false);
    host.say(std::string(volume, 'b'));
    std::size_t received = 0;
    few.serve_for(std::chrono::milliseconds(50));
    for (const Packet& packet : few.packets())
        received += packet.payload.size();
    EXPECT_LT(received, volume);
    const auto kicks = [&] { return few.device().metrics().at(0).value; };
    const auto before = kicks();
    few.serve_for(std::chrono::milliseconds(50));
    EXPECT_EQ(kicks(), before) << "it would spin";
    few.refill(true);
    EXPECT_TRUE(few.until([&] {
        for (const Packet& packet : few.packets())
            received += packet.payload.size();
        return received == volume;
    }));
}

TEST_P(VsockTest, PacketsOfTheGuestsAreTakenThoughItOffersNoBuffers) {
    Guest few{{.ring = GetParam(), .rx_buffers = 16}};
    auto [ports, host] = few.host_calls();
    few.refill(false);
    host.say(std::string(150'000, 'b'));
    few.serve_for(std::chrono::milliseconds(20));
    few.send(Guest::packet(ports, Op::rw), bytes_of("still heard"));
    few.settle();
    EXPECT_EQ(host.heard(), "still heard");
}

TEST_P(VsockTest, ACallIsTriedAgainWhileTheHostsBacklogIsFull) {
    const UnixListener listener = guest.listen(5000);
    ASSERT_EQ(::listen(listener.fd(), 0), 0);
    const FileDescriptor first = connect_unix(listener.path()).value(); // fills it
    guest.send(Guest::packet({.host = 5000, .guest = 1}, Op::request));
    EXPECT_TRUE(guest.hears_nothing());
    HostSocket other = guest.accept(listener);
    EXPECT_TRUE(guest.next(Op::response));
}

TEST_P(VsockTest, TheSocketOfALivingVmIsNotTaken) {
    EXPECT_FALSE(UnixListener::bind(guest.path()));
    EXPECT_TRUE(connect_unix(guest.path())) << "and it is left alone";
}

} // namespace
} // namespace aerate::vsock
