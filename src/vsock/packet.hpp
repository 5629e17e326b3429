// The header of a virtio-vsock packet (virtio 1.2, 5.10.6), and its bytes.
#pragma once

#include "base/endian.hpp"

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace aerate::vsock {

inline constexpr std::uint64_t host_cid = 2;
inline constexpr std::uint16_t stream_type = 1;
inline constexpr std::size_t header_bytes = 44;
/// No driver sends more in one packet: VIRTIO_VSOCK_MAX_PKT_BUF_SIZE of Linux.
inline constexpr std::uint32_t payload_max = 64U << 10;

enum class Op : std::uint16_t {
    invalid = 0,
    request = 1,
    response = 2,
    rst = 3,
    shutdown = 4,
    rw = 5,
    credit_update = 6,
    credit_request = 7,
};

/// What the sender of a SHUTDOWN does no more.
namespace shutdown_flag {
inline constexpr std::uint32_t receives_no_more = 1;
inline constexpr std::uint32_t sends_no_more = 2;
inline constexpr std::uint32_t both = receives_no_more | sends_no_more;
} // namespace shutdown_flag

/// What a connection is known by.
struct Ports {
    std::uint32_t host{};
    std::uint32_t guest{};
    auto operator<=>(const Ports&) const = default;
};

struct Header {
    std::uint64_t source_cid{};
    std::uint64_t destination_cid{};
    std::uint32_t source_port{};
    std::uint32_t destination_port{};
    std::uint32_t length{}; ///< of the payload
    std::uint16_t type = stream_type;
    Op op = Op::invalid; ///< of the guest's, any number
    std::uint32_t flags{};
    std::uint32_t buffer_size{}; ///< buf_alloc: what the sender has room for
    std::uint32_t forwarded{};   ///< fwd_cnt: what the sender has passed on, modulo 2^32
    bool operator==(const Header&) const = default;
};

namespace detail {
constexpr void each_field(auto& header, auto f) {
    f(header.source_cid);
    f(header.destination_cid);
    f(header.source_port);
    f(header.destination_port);
    f(header.length);
    f(header.type);
    f(header.op);
    f(header.flags);
    f(header.buffer_size);
    f(header.forwarded);
}
} // namespace detail

[[nodiscard]] inline std::array<std::byte, header_bytes> encode(const Header& header) {
    std::array<std::byte, header_bytes> bytes{};
    std::span<std::byte> rest(bytes);
    detail::each_field(header, [&](auto field) {
        if constexpr (std::is_enum_v<decltype(field)>)
            store_little_endian(rest, static_cast<std::uint16_t>(field));
        else
            store_little_endian(rest, field);
        rest = rest.subspan(sizeof(field));
    });
    return bytes;
}

[[nodiscard]] inline Header decode(std::span<const std::byte, header_bytes> bytes) {
    Header header;
    std::span<const std::byte> rest(bytes);
    detail::each_field(header, [&]<typename T>(T& field) {
        if constexpr (std::is_enum_v<T>)
            field = static_cast<T>(load_little_endian<std::uint16_t>(rest));
        else
            field = load_little_endian<T>(rest);
        rest = rest.subspan(sizeof(T));
    });
    return header;
}

} // namespace aerate::vsock
