// The registers of a queue, and where a queue stands. Freestanding: the driver half shares them.
#pragma once

#include "memory/guest_address.hpp"

#include <cstdint>

namespace aerate::virtio {

/// The registers of a queue as the driver wrote them.
struct QueueRegisters {
    std::uint16_t size{};
    GuestAddress descriptors; ///< descriptor table, or the packed ring
    GuestAddress driver;      ///< available ring, or the driver's event suppression
    GuestAddress device;      ///< used ring, or the device's event suppression
    bool ready = false;
    bool operator==(const QueueRegisters&) const = default;
};

/// Where a queue stands: what a snapshot saves, beside the registers.
struct QueuePosition {
    std::uint16_t next_available{};
    std::uint16_t next_used{};
    bool available_wrap = true; ///< packed only
    bool used_wrap = true;      ///< packed only
    bool operator==(const QueuePosition&) const = default;
};

} // namespace aerate::virtio
