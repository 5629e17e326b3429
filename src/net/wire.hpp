// What device and driver know of each other's bytes (virtio 1.2, 5.1): feature bits, config space, the header before
// each frame, control commands.
#pragma once

#include "virtio/features.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace aerate::net {

namespace feature {
inline constexpr unsigned csum = 0;
inline constexpr unsigned guest_csum = 1;
inline constexpr unsigned ctrl_guest_offloads = 2;
inline constexpr unsigned mtu = 3;
inline constexpr unsigned mac = 5;
inline constexpr unsigned guest_tso4 = 7;
inline constexpr unsigned guest_tso6 = 8;
inline constexpr unsigned host_tso4 = 11;
inline constexpr unsigned host_tso6 = 12;
inline constexpr unsigned merged_receive_buffers = 15;
inline constexpr unsigned status = 16;
inline constexpr unsigned control_queue = 17;
inline constexpr unsigned guest_announce = 21;
inline constexpr unsigned multi_queue = 22;
} // namespace feature

// Offsets in the config space (5.1.4).
namespace config {
inline constexpr std::size_t mac = 0;
inline constexpr std::size_t status = 6;
inline constexpr std::size_t max_virtqueue_pairs = 8;
inline constexpr std::size_t mtu = 10;
inline constexpr std::size_t size = 12;
} // namespace config

namespace status {
inline constexpr std::uint16_t link_up = 1;
inline constexpr std::uint16_t announce = 2;
} // namespace status

/// Is struct virtio_net_hdr_v1, which a driver of VERSION_1 always uses (5.1.6).
namespace header {
inline constexpr std::size_t num_buffers = 10;
inline constexpr std::size_t size = 12;
} // namespace header

inline constexpr std::size_t ethernet_header_size = 14;
inline constexpr std::size_t source_mac_offset = 6;
/// With TSO a frame has up to 65550 bytes (5.1.6.3.1), without it 1514.
inline constexpr std::size_t max_frame = header::size + 65550;

using MacAddress = std::array<std::uint8_t, 6>;

} // namespace aerate::net
