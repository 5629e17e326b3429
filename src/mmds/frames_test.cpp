#include "base/endian.hpp"
#include "mmds/frames.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace aerate::mmds {
namespace {

constexpr Ipv4Address service{169, 254, 169, 254};
using Bytes = std::vector<std::byte>;

Bytes bytes(std::initializer_list<unsigned> values) {
    Bytes result;
    for (const unsigned value : values)
        result.push_back(static_cast<std::byte>(value));
    return result;
}

Bytes arp_request() {
    return bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0,   0,  0, 0, 9, 8, 6, 0, 1, 8, 0,   6,   4,   0,
                  1,    2,    0,    0,    0,    0,    9, 172, 16, 0, 2, 0, 0, 0, 0, 0, 0, 169, 254, 169, 254});
}

Bytes segment() {
    Bytes frame = bytes({6,  1, 0x23, 0x45, 0x67, 1,  2, 0, 0, 0,   0,  9, 8, 0,   0x45, 0,   0,
                         40, 0, 0,    0x40, 0,    64, 6, 0, 0, 172, 16, 0, 2, 169, 254,  169, 254});
    frame.resize(54);
    return frame;
}

Class classified(const Bytes& frame) {
    return classify(std::span(frame).first(std::min(frame.size(), looked_at)), frame.size(), service);
}

Bytes with(Bytes frame, std::size_t at, unsigned value) {
    frame[at] = static_cast<std::byte>(value);
    return frame;
}

TEST(Frames, ThoseForTheServicesAddressAreItsOwn) {
    EXPECT_EQ(classified(arp_request()), Class::arp);
    EXPECT_EQ(classified(segment()), Class::segment);
    Bytes padded = arp_request();
    padded.resize(60);
    EXPECT_EQ(classified(padded), Class::arp);
    EXPECT_EQ(classified(with(arp_request(), 41, 253)), Class::other);
    EXPECT_EQ(classified(with(segment(), 33, 253)), Class::other);
    EXPECT_EQ(classified(with(segment(), 23, 17)), Class::drop) << "UDP";
    EXPECT_EQ(classified(with(segment(), 23, 1)), Class::drop) << "ICMP";
    // The gateway's address as well: a guest without a route of its own to the service sends there.
    EXPECT_EQ(classified(with(segment(), 0, 0x52)), Class::segment);
}

TEST(Frames, N21_WhatIsMalformedIsTheNetworksOrNobodys) {
    for (const Bytes& frame : {segment(), arp_request()})
        for (std::size_t size = 0; size < (frame[13] == std::byte{6} ? looked_at : 34); ++size)
            EXPECT_EQ(classified(Bytes(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size))), Class::other)
                << size;
    for (std::size_t at = 14; at < 22; ++at) // hardware, protocol, lengths, operation
        EXPECT_EQ(classified(with(arp_request(), at, 0x77)), Class::other) << at;
    EXPECT_EQ(classified(with(arp_request(), 21, 2)), Class::other) << "an answer";
    EXPECT_EQ(classified(with(segment(), 14, 0x46)), Class::drop) << "options";
    EXPECT_EQ(classified(with(segment(), 14, 0x65)), Class::drop) << "version";
    EXPECT_EQ(classified(with(segment(), 14, 0x40)), Class::drop) << "no header";
    EXPECT_EQ(classified(with(segment(), 20, 0x20)), Class::drop) << "more fragments";
    EXPECT_EQ(classified(with(segment(), 21, 1)), Class::drop) << "a later fragment";
    EXPECT_EQ(classified(with(with(segment(), 12, 0x81), 13, 0)), Class::other) << "802.1Q";
    EXPECT_EQ(classified(with(with(segment(), 12, 0x86), 13, 0xdd)), Class::other) << "IPv6";
}

TEST(Frames, TheServiceSaysWhereItIs) {
    const Bytes request = arp_request();
    const ArpReply reply = answer_arp(std::span(request).first<looked_at>(), service);
    EXPECT_EQ(Bytes(reply.begin(), reply.end()),
              bytes({2, 0, 0, 0,    0,    9,    6, 1,   0x23, 0x45, 0x67, 1, 8, 6, 0, 1, 8, 0,   6,  4, 0,
                     2, 6, 1, 0x23, 0x45, 0x67, 1, 169, 254,  169,  254,  2, 0, 0, 0, 0, 9, 172, 16, 0, 2}));
}

TEST(Frames, OnlyTheServicesTcpGoesToTheGuest) {
    Bytes packet = bytes({0x45, 0, 0, 40, 0, 0, 0x40, 0, 1, 6, 0, 0, 169, 254, 169, 254, 172, 16, 0, 2});
    EXPECT_TRUE(is_from_service(packet, service));
    EXPECT_FALSE(is_from_service(with(packet, 0, 0x60), service));
    EXPECT_FALSE(is_from_service(with(packet, 9, 1), service));
    EXPECT_FALSE(is_from_service(with(packet, 15, 1), service));
    EXPECT_FALSE(is_from_service(std::span(packet).first(19), service));
    const auto header = ethernet_header({2, 0, 0, 0, 0, 9});
    EXPECT_EQ(Bytes(header.begin(), header.end()), bytes({2, 0, 0, 0, 0, 9, 6, 1, 0x23, 0x45, 0x67, 1, 8, 0}));
}

TEST(Frames, N22_AChecksumThatBeginsBeforeThePacketIsRefused) {
    std::array<std::byte, net::header::size> header{};
    const auto set = [&](std::size_t at, std::uint16_t value) {
        store_little_endian(std::span(header).subspan(at), value);
    };
    const auto field = [](const TunHeader& from, std::size_t at) {
        return load_little_endian<std::uint16_t>(std::span(from).subspan(at));
    };
    ASSERT_TRUE(without_ethernet(header));
    header[0] = std::byte{1};
    set(2, 54);
    set(6, 34);
    set(8, 16);
    const auto converted = without_ethernet(header);
    ASSERT_TRUE(converted);
    EXPECT_EQ(field(*converted, 2), 40U);
    EXPECT_EQ(field(*converted, 6), 20U);
    EXPECT_EQ(field(*converted, 8), 16U);
    for (const unsigned start : {0U, 1U, 13U}) {
        set(6, static_cast<std::uint16_t>(start));
        EXPECT_FALSE(without_ethernet(header)) << start;
    }
    set(6, 0xffff); // the kernel's to refuse
    EXPECT_TRUE(without_ethernet(header));
    header[0] = std::byte{0};
    set(6, 3);
    EXPECT_TRUE(without_ethernet(header)) << "it is not looked at";
}

} // namespace
} // namespace aerate::mmds
