// A network without privileges and without set-up: passt (https://passt.top) opens and serves the guest's connections
// as sockets of its own, and answers DHCP, neighbour discovery and DNS as the host has them.
#pragma once

#include "base/error.hpp"
#include "net/backend.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace aerate::net {

/// A port of this host's loopback address that leads to one of the guest.
struct ForwardedPort {
    enum class Protocol : std::uint8_t { tcp, udp };
    Protocol protocol = Protocol::tcp;
    std::uint16_t host{};
    std::uint16_t guest{};
};

/// Starts passt, which ends when the back end goes. Fails if it is not installed, or a port is taken.
[[nodiscard]] Result<std::shared_ptr<BackEnd>> start_user_network(const std::vector<ForwardedPort>&);

} // namespace aerate::net
