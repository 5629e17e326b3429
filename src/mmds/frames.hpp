// Which of a guest's frames are for its metadata service, and what becomes of them: pure functions over bytes.
//
// TCP is the host kernel's, in a network namespace of its own, which sees IP packets. So what has to be known of
// Ethernet is here: addresses, ARP (RFC 826), and what a frame is.
#pragma once

#include "control/mmds_config.hpp"
#include "net/wire.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace aerate::mmds {

using control::Ipv4Address;
using net::MacAddress;

/// Firecracker's, of the service.
inline constexpr MacAddress own_mac{0x06, 0x01, 0x23, 0x45, 0x67, 0x01};

inline constexpr std::size_t arp_size = 28;
inline constexpr std::size_t ip_header_size = 20;
/// As much of a frame, without its virtio header, as classify() looks at.
inline constexpr std::size_t looked_at = net::ethernet_header_size + arp_size;

enum class Class : std::uint8_t {
    other,   ///< the network's
    arp,     ///< asks for the service's address
    segment, ///< TCP for the service
    drop,    ///< for its address, and nothing that it answers
};

/// Tells by the first bytes of a frame, which has `size` of them. Tagged frames are the network's.
[[nodiscard]] Class classify(std::span<const std::byte> first, std::size_t size, const Ipv4Address& service);
/// The sender of a frame. REQUIRES: there are the addresses.
[[nodiscard]] MacAddress source_of(std::span<const std::byte> frame);

using ArpReply = std::array<std::byte, net::ethernet_header_size + arp_size>;
/// Answers what classify() calls arp.
[[nodiscard]] ArpReply answer_arp(std::span<const std::byte, looked_at> request, const Ipv4Address& service);

/// Whether an IP packet from the namespace is one that the service sends: the kernel has others to say there.
[[nodiscard]] bool is_from_service(std::span<const std::byte> packet, const Ipv4Address& service);
/// The Ethernet header of such a packet.
[[nodiscard]] std::array<std::byte, net::ethernet_header_size> ethernet_header(const MacAddress& guest);

/// Is struct virtio_net_hdr, without the number of buffers, which a tun does not have.
inline constexpr std::size_t tun_header_size = 10;
using TunHeader = std::array<std::byte, tun_header_size>;
/// Turns the virtio header of a frame into that of its IP packet: where the checksum begins is counted from there.
/// nullopt: it would begin before.
[[nodiscard]] std::optional<TunHeader> without_ethernet(std::span<const std::byte, net::header::size> header);

} // namespace aerate::mmds
