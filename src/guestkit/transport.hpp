// What a balloon driver needs of its surroundings. MmioTransport is one; tests have their own.
#pragma once

#include "memory/guest_address.hpp"
#include "virtio/features.hpp"
#include "virtio/queue_registers.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace aerate::guestkit {

template <typename T>
concept Transport = requires(T transport, virtio::FeatureSet features, virtio::QueueRegisters registers,
                             std::uint16_t queue, std::uint32_t word, FrameNumber frame) {
    /// Resets the device, accepts what it offers of these, and has it confirm. Nothing when it refuses.
    { transport.negotiate(features) } -> std::same_as<std::optional<virtio::FeatureSet>>;
    /// Returns 0 if there is no such queue.
    { transport.max_queue_size(queue) } -> std::same_as<std::uint16_t>;
    { transport.set_queue(queue, registers) } -> std::same_as<bool>;
    /// DRIVER_OK.
    { transport.start() };
    { transport.read_config(word) } -> std::same_as<std::uint32_t>;
    { transport.write_config(word, word) };
    { transport.kick(queue) };
    /// Returns where a frame is in the driver's own address space.
    { transport.page(frame) } -> std::same_as<std::byte*>;
};

} // namespace aerate::guestkit
