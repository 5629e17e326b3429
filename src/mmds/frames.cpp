#include "mmds/frames.hpp"

#include "base/endian.hpp"

#include <algorithm>

namespace aerate::mmds {
namespace {

constexpr std::size_t ether_type = 12;
constexpr std::size_t payload = net::ethernet_header_size;
constexpr std::byte tcp{6};

std::uint16_t big_endian(std::span<const std::byte> bytes, std::size_t at) {
    return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[at]) << 8 |
                                      std::to_integer<unsigned>(bytes[at + 1]));
}

bool has_address(std::span<const std::byte> bytes, std::size_t at, const Ipv4Address& address) {
    return std::ranges::equal(bytes.subspan(at, address.size()), std::as_bytes(std::span(address)));
}

// Offsets in an ARP packet for Ethernet and IPv4.
constexpr std::size_t arp_operation = 6;
constexpr std::size_t arp_sender_mac = 8;
constexpr std::size_t arp_sender_ip = 14;
constexpr std::size_t arp_target_mac = 18;
constexpr std::size_t arp_target_ip = 24;
constexpr std::array<std::byte, 6> arp_ethernet_ipv4{std::byte{0}, std::byte{1}, std::byte{8},
                                                     std::byte{0}, std::byte{6}, std::byte{4}};

} // namespace

Class classify(std::span<const std::byte> first, std::size_t size, const Ipv4Address& service) {
    if (first.size() < payload + ip_header_size || size < first.size())
        return Class::other;
    const auto packet = first.subspan(payload);
    if (big_endian(first, ether_type) == 0x0806) {
        const bool asks = packet.size() >= arp_size && std::ranges::equal(packet.first(6), arp_ethernet_ipv4) &&
                          big_endian(packet, arp_operation) == 1 && has_address(packet, arp_target_ip, service);
        return asks ? Class::arp : Class::other;
    }
    if (big_endian(first, ether_type) != 0x0800 || !has_address(packet, 16, service))
        return Class::other;
    // RFC 791: version 4 and no options; more fragments and offset are 0. No guest needs either for TCP on its own
    // link, and the kernel need not keep fragments for those that do.
    const bool plain = packet[0] == std::byte{0x45} && (big_endian(packet, 6) & 0x3fffU) == 0;
    return plain && packet[9] == tcp ? Class::segment : Class::drop;
}

MacAddress source_of(std::span<const std::byte> frame) {
    MacAddress mac{};
    std::ranges::copy(frame.subspan(net::source_mac_offset, mac.size()),
                      std::as_writable_bytes(std::span(mac)).begin());
    return mac;
}

ArpReply answer_arp(std::span<const std::byte, looked_at> request, const Ipv4Address& service) {
    ArpReply reply{};
    const auto put = [&reply](std::size_t at, auto bytes) {
        std::ranges::copy(std::as_bytes(std::span(bytes)), reply.begin() + static_cast<std::ptrdiff_t>(at));
    };
    const auto asked = request.subspan<payload>();
    put(0, ethernet_header(source_of(request)));
    put(ether_type, std::array<std::uint8_t, 2>{0x08, 0x06});
    put(payload, arp_ethernet_ipv4);
    put(payload + arp_operation, std::array<std::uint8_t, 2>{0, 2});
    put(payload + arp_sender_mac, own_mac);
    put(payload + arp_sender_ip, service);
    put(payload + arp_target_mac, asked.subspan<arp_sender_mac, 6>());
    put(payload + arp_target_ip, asked.subspan<arp_sender_ip, 4>());
    return reply;
}

bool is_from_service(std::span<const std::byte> packet, const Ipv4Address& service) {
    return packet.size() >= ip_header_size && (packet[0] & std::byte{0xf0}) == std::byte{0x40} && packet[9] == tcp &&
           has_address(packet, 12, service);
}

std::array<std::byte, net::ethernet_header_size> ethernet_header(const MacAddress& guest) {
    std::array<std::byte, net::ethernet_header_size> header{};
    std::ranges::copy(std::as_bytes(std::span(guest)), header.begin());
    std::ranges::copy(std::as_bytes(std::span(own_mac)), header.begin() + net::source_mac_offset);
    header[ether_type] = std::byte{0x08};
    return header;
}

std::optional<TunHeader> without_ethernet(std::span<const std::byte, net::header::size> header) {
    constexpr std::uint8_t needs_checksum = 1;
    constexpr std::size_t header_length = 2;
    constexpr std::size_t checksum_start = 6;
    TunHeader converted{};
    std::ranges::copy(header.first<tun_header_size>(), converted.begin());
    const auto shorten = [&](std::size_t at) {
        const auto value = load_little_endian<std::uint16_t>(header.subspan(at));
        store_little_endian(std::span(converted).subspan(at),
                            static_cast<std::uint16_t>(value - std::min<std::size_t>(value, payload)));
        return value >= payload;
    };
    shorten(header_length); // a hint, which the kernel corrects
    const bool checksum = (std::to_integer<unsigned>(header[0]) & needs_checksum) != 0;
    if (!shorten(checksum_start) && checksum)
        return std::nullopt;
    return converted;
}

} // namespace aerate::mmds
