// A whole device, as small as one can be: says back what it hears, and knows how much that was. It stands for the next
// device, and shows what one needs: this much, and a row in the table.
#pragma once

#include "base/codec.hpp"
#include "machine/device_table.hpp"
#include "virtio/device.hpp"
#include "virtio/take_chains.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <vector>

namespace aerate::testing {

class MinimalDevice final : public virtio::Device {
public:
    explicit MinimalDevice(GuestMemory& memory)
        : Device("minimal")
        , memory_(memory) {}

    [[nodiscard]] virtio::DeviceType type() const override { return virtio::DeviceType::console; }
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return sizes; }
    [[nodiscard]] virtio::DeviceState save() const override {
        Encoder state;
        state(said_);
        return {.version = 1, .bytes = state.take()};
    }
    [[nodiscard]] Result<> restore(const virtio::DeviceState& state) override {
        Decoder decoder(state.bytes);
        decoder(said_);
        return state.version == 1 && decoder.complete() ? Result<>() : fail("the minimal device's state is malformed");
    }
    [[nodiscard]] std::vector<virtio::Metric> metrics() const override {
        return {{"minimal_bytes", "Bytes said back", said_, {{"device", name()}}}};
    }

private:
    std::expected<bool, virtio::RingFault> serve(virtio::QueueIndex, virtio::Virtqueue& queue) override {
        return virtio::take_chains(queue, queue.size(), [&](const virtio::DescriptorChain& chain) {
            std::array<std::byte, 64> word{};
            std::uint32_t length = 0;
            if (!chain.readable.empty() && !chain.writable.empty()) {
                length = std::min({std::uint32_t{word.size()}, chain.readable[0].length, chain.writable[0].length});
                const auto bytes = std::span(word).first(length);
                if (!memory_.read(chain.readable[0].address, bytes) || !memory_.write(chain.writable[0].address, bytes))
                    length = 0;
            }
            said_ += length;
            queue.complete(chain.id, length);
        });
    }

    static constexpr std::array<std::uint16_t, 1> sizes{64};
    GuestMemory& memory_;
    std::uint64_t said_ = 0;
};

inline constexpr DeviceKind minimal_kind{"minimal", [](const DevicePlace& place) -> Result<std::vector<MadeDevice>> {
                                             std::vector<MadeDevice> made;
                                             made.push_back(
                                                 {std::make_unique<MinimalDevice>(place.memory), &place.main_loop});
                                             return made;
                                         }};

} // namespace aerate::testing
