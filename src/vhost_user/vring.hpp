// One ring as the front-end configures it, and its virtqueue while the device runs.
#pragma once

#include "event/event_loop.hpp"
#include "vhost_user/memory_table.hpp"
#include "vhost_user/notifier.hpp"
#include "virtio/virtqueue.hpp"

#include <memory>
#include <optional>

namespace aerate::vhost_user {

class Inflight;

struct Vring {
    std::uint16_t size = 0;
    struct Addresses {
        UserAddress descriptors;
        UserAddress available;
        UserAddress used;
        bool operator==(const Addresses&) const = default;
    };
    std::optional<Addresses> addresses;
    /// SET_VRING_BASE since the ring last ran. Without one it goes on where it was.
    std::optional<std::uint32_t> base;
    virtio::QueuePosition position;
    bool started = false; ///< from SET_VRING_KICK to GET_VRING_BASE
    bool enabled = false; ///< SET_VRING_ENABLE

    std::optional<Kick> kick;
    Notifier call;
    Notifier error;
    std::unique_ptr<virtio::Virtqueue> queue; ///< while the device is active
    Subscription watch;
};

/// Returns the registers in guest addresses, checked. `size_max` is the device's.
[[nodiscard]] std::expected<virtio::QueueRegisters, virtio::RingFault>
registers_of(const Vring&, const MemoryTable&, const GuestMemory&, virtio::FeatureSet);

/// Returns where the ring begins or continues, checked. The document's encodings of SET_VRING_BASE: for a split ring
/// the available index, and the used one is read from the ring; for a packed ring both cursors, or 0 from front-ends
/// that do not know packed rings (User Mode Linux), which the ring's first descriptor then explains.
[[nodiscard]] std::expected<virtio::QueuePosition, virtio::RingFault> position_of(const Vring&, std::uint16_t index,
                                                                                  const virtio::QueueRegisters&,
                                                                                  virtio::FeatureSet,
                                                                                  const GuestMemory&, const Inflight*);

/// Returns GET_VRING_BASE's answer.
[[nodiscard]] std::uint32_t encoded(virtio::QueuePosition, virtio::FeatureSet);

} // namespace aerate::vhost_user
