// Which queue is what (virtio 1.2, 5.1.2): pairs of receive and transmit queues, and the control queue behind those
// pairs that the driver has accepted, which are one unless it has accepted MQ.
#pragma once

#include "net/wire.hpp"

#include <cstdint>
#include <optional>

namespace aerate::net {

enum class Role : std::uint8_t { receive, transmit, control };

struct QueuePlace {
    Role role{};
    std::uint16_t pair{}; ///< of receive and transmit queues
    bool operator==(const QueuePlace&) const = default;
};

/// Nothing for a queue that is none. `pairs`: as many as the device has.
[[nodiscard]] constexpr std::optional<QueuePlace> place_of(std::uint16_t queue, virtio::FeatureSet accepted,
                                                           std::uint16_t pairs) {
    const unsigned used = accepted.has(feature::multi_queue) ? pairs : 1;
    if (queue < 2 * used)
        return QueuePlace{queue % 2 == 0 ? Role::receive : Role::transmit, static_cast<std::uint16_t>(queue / 2)};
    if (queue == 2 * used && accepted.has(feature::control_queue))
        return QueuePlace{Role::control, 0};
    return std::nullopt;
}

} // namespace aerate::net
