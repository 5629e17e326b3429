// virtio-rng (virtio 1.2, 5.4): fills the guest's buffers from the host's random generator.
#pragma once

#include "base/units.hpp"
#include "memory/guest_memory.hpp"
#include "protocol/rate_limiter.hpp"
#include "virtio/device.hpp"
#include "virtio/throttle.hpp"

#include <array>
#include <cstdint>

namespace aerate {

class Entropy final : public virtio::Device {
public:
    static constexpr std::uint16_t queue_size = 64;
    /// A longer chain is filled as far as this: the device may return fewer bytes than there is room for.
    static constexpr ByteCount chain_limit{64U << 10};
    /// What one kick may cost the loop before others have their turn.
    static constexpr ByteCount kick_limit{256U << 10};

    Entropy(EventLoop& loop, GuestMemory& memory, const protocol::RateLimits& limits = {})
        : Device("entropy")
        , memory_(memory)
        , throttle_(loop, limits, [this] { serve_again({0}); }) {}

    [[nodiscard]] virtio::DeviceType type() const override { return virtio::DeviceType::entropy; }
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return queue_sizes_; }

    /// The rate limiter's level, if there is one.
    [[nodiscard]] virtio::DeviceState save() const override;
    [[nodiscard]] Result<> restore(const virtio::DeviceState&) override;
    [[nodiscard]] std::vector<virtio::Metric> metrics() const override;
    [[nodiscard]] ByteCount delivered() const { return delivered_; }

private:
    [[nodiscard]] std::expected<bool, virtio::RingFault> serve(virtio::QueueIndex, virtio::Virtqueue&) override;
    [[nodiscard]] bool waits(virtio::QueueIndex) const override { return throttle_.waits(); }
    [[nodiscard]] std::uint32_t fill(std::span<const virtio::Buffer>);

    static constexpr std::array<std::uint16_t, 1> queue_sizes_{queue_size};
    GuestMemory& memory_;
    virtio::Throttle throttle_;
    ByteCount delivered_{};
};

} // namespace aerate
