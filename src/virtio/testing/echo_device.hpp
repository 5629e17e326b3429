// The smallest device: returns every chain, with its readable bytes copied into its writable buffers. It counts what
// its transport asks of it.
#pragma once

#include "base/check.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/device.hpp"
#include "virtio/take_chains.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <expected>
#include <span>
#include <utility>
#include <vector>

namespace aerate::virtio::testing {

class EchoDevice final : public Device {
public:
    static constexpr std::array<std::uint16_t, 3> sizes{64, 8, 128};
    static constexpr unsigned feature_bit = 3;

    explicit EchoDevice(GuestMemory& memory)
        : Device("echo")
        , memory_(&memory) {}

    /// Four bytes of each of the host's (read-only) and of the guest's.
    std::array<std::byte, 8> config{};
    FeatureSet negotiated_at_config_write;
    FeatureSet active_features;
    unsigned activations = 0;
    unsigned resets = 0;
    unsigned kicks = 0;
    unsigned echoed = 0;
    bool again_while_kicked = false; ///< asks for kick_again() once
    std::vector<Virtqueue*> queues;

    [[nodiscard]] DeviceType type() const override { return DeviceType::balloon; }
    [[nodiscard]] FeatureSet offered_features() const override { return FeatureSet{}.with(feature_bit); }
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return sizes; }

    void read_config(std::uint32_t offset, std::span<std::byte> into) override {
        for (std::size_t i = 0; i < into.size(); ++i)
            into[i] = offset + i < config.size() ? config[offset + i] : std::byte{0};
    }
    void write_config(std::uint32_t offset, std::span<const std::byte> from, FeatureSet negotiated) override {
        negotiated_at_config_write = negotiated;
        for (std::size_t i = 0; i < from.size(); ++i)
            if (offset + i >= 4 && offset + i < config.size())
                config[offset + i] = from[i];
    }

private:
    void on_activate(FeatureSet features) override {
        ++activations;
        active_features = features;
        for (std::uint16_t i = 0; i < sizes.size(); ++i)
            queues.push_back(virtqueue({i}));
    }
    std::expected<bool, RingFault> serve(QueueIndex, Virtqueue& queue) override {
        CHECK(!paused());
        ++kicks;
        const auto more = take_chains(queue, queue.size(), [&](const DescriptorChain& chain) {
            queue.complete(chain.id, echo(chain));
            ++echoed;
        });
        const bool again = std::exchange(again_while_kicked, false);
        return more ? std::expected<bool, RingFault>(*more || again) : more;
    }
    void on_reset() override {
        ++resets;
        config = {};
        queues.clear();
    }
    [[nodiscard]] std::uint32_t echo(const DescriptorChain& chain) {
        std::array<std::byte, 256> bytes{};
        std::size_t length = 0;
        if (!chain.readable.empty()) {
            length = std::min<std::size_t>(chain.readable.front().length, bytes.size());
            if (!memory_->read(chain.readable.front().address, std::span(bytes).first(length)))
                return 0;
        }
        if (chain.writable.empty())
            return 0;
        length = std::min<std::size_t>(length, chain.writable.front().length);
        return memory_->write(chain.writable.front().address, std::span(bytes).first(length))
                   ? static_cast<std::uint32_t>(length)
                   : 0;
    }

    GuestMemory* memory_;
};

} // namespace aerate::virtio::testing
