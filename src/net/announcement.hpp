// How a guest that has moved makes itself known where it is now: to its own neighbours, by the driver (GUEST_ANNOUNCE,
// virtio 1.2, 5.1.6.5.4), and to the host's bridge, by a frame that seems to come from the guest.
#pragma once

#include "net/wire.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <optional>

namespace aerate::net {

/// A gratuitous RARP request, with an empty virtio header before it and padded to the shortest frame: a bridge learns
/// the port of its source address, and nobody answers (as QEMU and Cloud Hypervisor send it).
[[nodiscard]] inline std::array<std::byte, header::size + 60> reverse_arp(const MacAddress& mac) {
    std::array<std::byte, header::size + 60> frame{};
    std::size_t at = header::size;
    const auto put = [&](auto... bytes) { ((frame[at++] = std::byte(bytes)), ...); };
    const auto put_mac = [&] {
        for (const std::uint8_t byte : mac)
            put(byte);
    };
    for (unsigned i = 0; i < mac.size(); ++i)
        put(0xff);
    put_mac();
    put(0x80, 0x35, 0, 1, 0x08, 0x00, 6, 4, 0, 3); // RARP; Ethernet, IPv4, lengths, "request reverse"
    put_mac();
    put(0, 0, 0, 0);
    put_mac();
    return frame;
}

/// The rounds of one announcement: the first at once, then with growing pauses, until the guest has answered.
class Announcement {
public:
    using Milliseconds = std::chrono::milliseconds;
    static constexpr unsigned rounds = 5;

    /// One round is due now. Returns the pause before the next, or nothing after the last.
    [[nodiscard]] std::optional<Milliseconds> announced() {
        if (++made_ >= rounds)
            return std::nullopt;
        return std::min(Milliseconds(550), Milliseconds(50) + (made_ - 1) * Milliseconds(100));
    }

private:
    unsigned made_ = 0;
};

} // namespace aerate::net
