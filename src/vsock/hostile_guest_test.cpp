// What a guest, or a client on the host, may send to do harm: docs/hostile-inputs.md, K.
#include "vsock/testing/guest.hpp"

#include <gtest/gtest.h>

#include <filesystem>

namespace aerate::vsock {
namespace {

using namespace testing;

std::size_t open_descriptors() {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

TEST(HostileVsockGuest, K1_APacketThatIsLessThanItSaysEndsItsConnection) {
    Guest guest;
    auto [ports, host] = guest.host_calls();
    Header header = Guest::packet(ports, Op::rw);
    header.length = 100;
    guest.send_raw(header, bytes_of("too short"));
    EXPECT_TRUE(guest.next(Op::rst));
    EXPECT_EQ(host.heard(), "");
    EXPECT_TRUE(host.at_end());
    // And one that has no header.
    guest.tx_queue().add({readable(std::uint32_t{1})});
    guest.tx_queue().add({readable_at({1ULL << 40}, 44)});
    guest.tx_queue().add({writable(44)});
    guest.device().kicked(Vsock::tx);
    EXPECT_EQ(guest.counters().malformed, 4U);
    EXPECT_TRUE(guest.host().faults.empty());
    EXPECT_EQ(guest.tx_queue().device().in_flight(), 0U) << "each goes back";
}

TEST(HostileVsockGuest, K2_ALengthBeyond64KiBIsRefused) {
    Guest guest;
    for (const std::uint32_t length : {payload_max + 1, 1U << 31, 0xffff'ffffU}) {
        auto [ports, host] = guest.host_calls();
        Header header = Guest::packet(ports, Op::rw);
        header.length = length;
        const auto head = encode(header);
        guest.tx_queue().add({readable(head), readable_at(FakeDriver::high.start, 8U << 20)});
        guest.device().kicked(Vsock::tx);
        EXPECT_TRUE(guest.next(Op::rst)) << length;
        EXPECT_EQ(host.heard(), "");
    }
}

TEST(HostileVsockGuest, K3_UnknownTypesAreResetAndUnknownOperationsIgnored) {
    Guest guest;
    auto [ports, host] = guest.host_calls();
    for (const unsigned type : {0U, 2U, 7U, 0xffffU}) {
        Header header = Guest::packet(ports, Op::rw);
        header.type = static_cast<std::uint16_t>(type);
        guest.send(header, bytes_of("x"));
        const auto answer = guest.next();
        ASSERT_TRUE(answer);
        EXPECT_EQ(answer->header.op, Op::rst);
        EXPECT_EQ(answer->header.type, type);
        header.op = Op::rst;
        guest.send(header);
    }
    for (const unsigned op : {0U, 8U, 0xffffU})
        guest.send(Guest::packet(ports, static_cast<Op>(op)));
    EXPECT_TRUE(guest.hears_nothing());
    host.say("still here");
    EXPECT_EQ(text_of(guest.next(Op::rw).value().payload), "still here");
}

TEST(HostileVsockGuest, K4_PacketsOfOrToSomebodyElseAreDropped) {
    Guest guest;
    auto [ports, host] = guest.host_calls();
    for (const std::uint64_t cid : {0ULL, 1ULL, 5ULL, 0xffff'ffffULL, 1ULL << 32 | 2, ~0ULL}) {
        Header to = Guest::packet(ports, Op::rw);
        to.destination_cid = cid;
        guest.send(to, bytes_of("x"));
        Header from = Guest::packet(ports, Op::rst);
        from.source_cid = cid;
        guest.send(from);
    }
    EXPECT_TRUE(guest.hears_nothing());
    EXPECT_EQ(guest.counters().ignored, 12U);
    EXPECT_EQ(host.heard(), "");
    EXPECT_FALSE(host.at_end());
}

TEST(HostileVsockGuest, K5_DataBeforeTheAnswerEndsTheCall) {
    Guest guest;
    HostSocket host = guest.connect();
    host.say("CONNECT 7\n");
    const auto request = guest.next(Op::request);
    ASSERT_TRUE(request);
    guest.send(Guest::packet({.host = request->header.source_port, .guest = 7}, Op::rw), bytes_of("x"));
    EXPECT_TRUE(guest.next(Op::rst));
    EXPECT_TRUE(guest.until([&] { return host.heard().empty() && host.at_end(); }));
}

TEST(HostileVsockGuest, K6_WhatIsForNoConnectionIsResetAndARstIsNot) {
    Guest guest;
    const Ports nowhere{.host = 1, .guest = 2};
    for (const Op op : {Op::response, Op::shutdown, Op::rw, Op::credit_update, Op::credit_request}) {
        guest.send(Guest::packet(nowhere, op));
        EXPECT_EQ(guest.next().value().header.op, Op::rst);
    }
    guest.send(Guest::packet(nowhere, Op::rst));
    EXPECT_TRUE(guest.hears_nothing());
}

TEST(HostileVsockGuest, K6_ARequestForAConnectionThatIsThereChangesNothing) {
    Guest guest;
    auto [ports, host] = guest.guest_calls(5000, 1);
    guest.send(Guest::packet(ports, Op::request));
    guest.send(Guest::packet(ports, Op::response));
    EXPECT_TRUE(guest.hears_nothing());
    host.say("on");
    EXPECT_TRUE(guest.next(Op::rw));
}

TEST(HostileVsockGuest, K7_ShutdownsOfNothingEndNothing) {
    Guest guest;
    auto [ports, host] = guest.host_calls();
    guest.send(Guest::packet(ports, Op::shutdown, 0));
    guest.send(Guest::packet(ports, Op::shutdown, 0xffff'fff0));
    EXPECT_TRUE(guest.hears_nothing());
    host.say("on");
    EXPECT_TRUE(guest.next(Op::rw));
}

TEST(HostileVsockGuest, K8_AMillionCallsOfNobodyCostNoDescriptorAndNoMemory) {
    Guest guest{{.rx_buffers = 0}};
    const std::size_t before = open_descriptors();
    const Header request = Guest::packet({.host = 99, .guest = 1}, Op::request);
    const auto head = encode(request);
    const GuestAddress at = guest.fake().allocate(ByteCount{head.size()});
    ASSERT_TRUE(guest.fake().memory().write(at, head));
    unsigned sent = 0;
    const auto send = [&] {
        while (guest.tx_queue().free_slots() > 0 && sent < 1'000'000) {
            guest.tx_queue().add({readable_at(at, static_cast<std::uint32_t>(head.size()))});
            ++sent;
        }
        guest.device().kicked(Vsock::tx);
        while (guest.tx_queue().take_used()) {
        }
    };
    // Without buffers for the answers the device takes what it can answer, and leaves the rest in the ring.
    for (int i = 0; i < 100; ++i)
        send();
    EXPECT_EQ(sent, Multiplexer::replies_max + Vsock::queue_size);
    EXPECT_TRUE(guest.host().kicks_again.empty()) << "it would spin";
    EXPECT_EQ(open_descriptors(), before);

    const GuestAddress answer = guest.fake().allocate(ByteCount{4096});
    unsigned answers = 0;
    while (answers < sent) {
        while (guest.rx_queue().free_slots() > 0)
            guest.rx_queue().add({writable_at(answer, 64)});
        guest.device().kicked(Vsock::rx);
        send();
        while (guest.rx_queue().take_used())
            ++answers;
    }
    EXPECT_EQ(answers, 1'000'000U);
    EXPECT_EQ(guest.counters().refused, 1'000'000U);
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_EQ(guest.device().connections().connections(), 0U);
}

TEST(HostileVsockGuest, K9_MoreThanTheBufferHoldsEndsTheConnection) {
    Guest guest;
    auto [ports, host] = guest.guest_calls(5000, 1);
    const std::string piece(4000, 'z');
    bool reset = false;
    for (int i = 0; i < 1000 && !reset; ++i) {
        guest.send(Guest::packet(ports, Op::rw), bytes_of(piece));
        for (const Packet& packet : guest.packets())
            reset |= packet.header.op == Op::rst;
    }
    EXPECT_TRUE(reset);
    EXPECT_EQ(guest.counters().killed, 1U);
    EXPECT_EQ(guest.device().connections().connections(), 0U);
}

TEST(HostileVsockGuest, K9_CreditWithoutEndIsReadIntoBuffersAndNowhereElse) {
    Guest guest;
    auto [ports, host] = guest.host_calls();
    Header lie = Guest::packet(ports, Op::credit_update);
    lie.buffer_size = 0xffff'ffff;
    guest.send(lie);
    host.say(std::string(150'000, 'c'));
    std::size_t received = 0;
    EXPECT_TRUE(guest.until([&] {
        for (const Packet& packet : guest.packets())
            received += packet.payload.size();
        return received == 150'000;
    }));
}

TEST(HostileVsockGuest, K10_EventBuffersOfEverySizeAndNoneAreSurvived) {
    for (const std::uint32_t length : {0U, 1U, 3U}) {
        Guest guest{{.event_buffers = 0}};
        if (length > 0)
            guest.event_queue().add({writable(length)});
        auto [ports, host] = guest.host_calls();
        ASSERT_TRUE(guest.save_and_restore());
        guest.resume();
        EXPECT_EQ(guest.next(Op::rst).value().header.source_port, ports.host) << "the other way to be told";
        EXPECT_TRUE(guest.host().faults.empty());
        auto again = guest.host_calls();
    }
}

TEST(HostileVsockGuest, K11_BuffersInWhichNoPacketHasRoomGoBackEmpty) {
    Guest guest{{.rx_buffers = 0}};
    guest.rx_queue().add({readable(std::uint32_t{1})});
    guest.rx_queue().add({writable(44)});
    guest.rx_queue().add({writable_at({1ULL << 40}, 4096)});
    guest.rx_queue().add({writable_at({~0ULL - 8}, 4096)});
    std::vector<FakeBuffer> crumbs(60, writable(1));
    guest.rx_queue().add(crumbs);
    HostSocket host = guest.connect();
    host.say("CONNECT 7\n");
    guest.settle();
    for (int i = 0; i < 4; ++i) {
        const auto used = guest.rx_queue().take_used();
        ASSERT_TRUE(used);
        EXPECT_EQ(used->written, 0U);
    }
    const auto used = guest.rx_queue().take_used();
    ASSERT_TRUE(used) << "a buffer of crumbs is one";
    EXPECT_EQ(used->written, header_bytes);
    EXPECT_EQ(decode(std::span(used->bytes).first<header_bytes>()).op, Op::request);
    EXPECT_TRUE(guest.host().faults.empty());
}

TEST(HostileVsockGuest, K11_NothingBesidesThePacketIsWritten) {
    Guest guest;
    auto [ports, host] = guest.host_calls();
    guest.settle();
    guest.packets();
    guest.fake().memory().write_log().start();
    host.say("abc");
    ASSERT_TRUE(guest.until([&] { return guest.rx_queue().device().completed() > 1; }));
    PageBitmap written = PageBitmap::create(guest.fake().memory().address_space()).value();
    guest.fake().memory().write_log().take(written);
    // The buffer and the rings: a few pages of the sixteen that its buffers alone have.
    EXPECT_GE(written.count().value, 2U);
    EXPECT_LE(written.count().value, 6U);
}

TEST(HostileVsockClient, K12_CommandsThatAreSlowLongOrWrongAreClosedAndHarmNobody) {
    Vsock::Options options;
    options.connections.call_patience = std::chrono::milliseconds(200);
    Guest guest{{.options = options}};
    for (const char* text : {"CONNECT x\n", "HELLO\n", "\n", "CONNECT 1 2\n", "012345678901234567890123456789012"}) {
        HostSocket host = guest.connect();
        host.say(text);
        EXPECT_TRUE(guest.until([&] { return host.heard().empty() && host.at_end(); })) << text;
    }
    HostSocket silent = guest.connect();
    silent.say("CON");
    HostSocket gone = guest.connect();
    gone.say("CON");
    gone.close();
    EXPECT_TRUE(guest.until([&] { return silent.heard().empty() && silent.at_end(); })) << "its time is over";
    HostSocket slow = guest.connect();
    for (const char letter : std::string_view("CONNECT 52\n")) {
        slow.say({&letter, 1});
        guest.serve_for(std::chrono::milliseconds(5));
    }
    EXPECT_TRUE(guest.next(Op::request)) << "in pieces it is the same";
    EXPECT_EQ(guest.counters().refused, 7U);
}

TEST(HostileVsockClient, K12_ManyWhoSayNothingKeepNobodyOutForLong) {
    Vsock::Options options;
    options.connections.call_patience = std::chrono::milliseconds(300);
    options.connections.max_calls = 4;
    Guest guest{{.options = options}};
    std::vector<HostSocket> silent;
    for (int i = 0; i < 10; ++i)
        silent.push_back(guest.connect());
    HostSocket honest = guest.connect();
    honest.say("CONNECT 52\n");
    EXPECT_TRUE(guest.next(Op::request));
}

} // namespace
} // namespace aerate::vsock
