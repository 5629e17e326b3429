// virtio-rng (virtio 1.2, 5.4): fills the guest's buffers from the host's random generator.
#pragma once

#include "base/units.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/device.hpp"

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

    explicit Entropy(GuestMemory& memory)
        : memory_(memory) {}

    [[nodiscard]] virtio::DeviceType type() const override { return virtio::DeviceType::entropy; }
    [[nodiscard]] virtio::FeatureSet offered_features() const override { return {}; }
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return queue_sizes_; }
    void read_config(std::uint32_t offset, std::span<std::byte> into) override;
    void write_config(std::uint32_t, std::span<const std::byte>, virtio::FeatureSet) override {}
    void activate(const virtio::Activation&) override;
    void kicked(virtio::QueueIndex) override;
    void reset() override;
    void pause(EventLoop::Callback quiesced) override;
    void resume() override;

    [[nodiscard]] ByteCount delivered() const { return delivered_; }

private:
    [[nodiscard]] std::uint32_t fill(std::span<const virtio::Buffer>);

    static constexpr std::array<std::uint16_t, 1> queue_sizes_{queue_size};
    GuestMemory& memory_;
    virtio::Virtqueue* queue_ = nullptr;
    virtio::DeviceHost* host_ = nullptr;
    bool paused_ = false;
    ByteCount delivered_{};
};

} // namespace aerate
