// What a transport and a device know of each other.
//
// A device and its transport live on one event loop: every call below comes on that loop's thread, so a device needs no
// lock, and after reset() returns no effect of it can follow.
#pragma once

#include "event/event_loop.hpp"
#include "virtio/features.hpp"
#include "virtio/virtqueue.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace aerate::virtio {

struct QueueIndex {
    std::uint16_t value{};
    auto operator<=>(const QueueIndex&) const = default;
};

enum class DeviceType : std::uint32_t { net = 1, block = 2, console = 3, entropy = 4, balloon = 5, vsock = 19 };

/// The transport, as its device sees it.
class DeviceHost {
public:
    /// Interrupts the guest for a used buffer. Devices call it once a batch, when Virtqueue::publish() says so.
    virtual void interrupt_queue(QueueIndex) = 0;
    /// The device's config space has changed: new generation, config interrupt.
    virtual void config_changed() = 0;
    /// Calls kicked() once more, after others on the loop have had their turn.
    virtual void kick_again(QueueIndex) = 0;
    /// The guest broke the ring's structure: NEEDS_RESET is set, no queue is served until the guest resets the device;
    /// the VM goes on. `what` is shown to the operator.
    virtual void needs_reset(QueueIndex, std::string_view what) = 0;

protected:
    ~DeviceHost() = default;
};

/// What DRIVER_OK handed over: the features, and the queues that the guest enabled (others are null).
struct Activation {
    FeatureSet features;
    std::span<Virtqueue* const> queues; ///< by queue index, as many as queue_sizes(); they live until reset()
    DeviceHost* host = nullptr;
};

class Device {
public:
    virtual ~Device() = default;
    [[nodiscard]] virtual DeviceType type() const = 0;
    /// Device-specific bits; the transport adds VERSION_1 and the ring features.
    [[nodiscard]] virtual FeatureSet offered_features() const = 0;
    /// The largest size of each queue; its length is the number of queues.
    [[nodiscard]] virtual std::span<const std::uint16_t> queue_sizes() const = 0;

    /// Bytes beyond the config space read as zero.
    virtual void read_config(std::uint32_t offset, std::span<std::byte> into) = 0;
    /// Bytes that the driver may not write are ignored. May come before DRIVER_OK (PAGE_POISON's poison_val).
    virtual void write_config(std::uint32_t offset, std::span<const std::byte> from, FeatureSet negotiated) = 0;

    virtual void activate(const Activation&) = 0;
    /// The guest kicked a queue: process at most one ring's worth of chains, so that a guest which adds for ever
    /// starves nobody (R11). If there may be more, call DeviceHost::kick_again() and return.
    virtual void kicked(QueueIndex) = 0;
    /// Drops work in flight; the queues are gone once this returns.
    virtual void reset() = 0;

    /// Takes no new buffers and completes what it has taken; calls `quiesced` (on this thread, maybe at once) when no
    /// buffer of the guest's is in use. resume() undoes it. Config space still answers.
    virtual void pause(EventLoop::Callback quiesced) = 0;
    virtual void resume() = 0;
};

} // namespace aerate::virtio
