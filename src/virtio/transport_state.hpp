// What a saved VM keeps of a virtio transport and its queues. No buffer is in flight when it is taken: a device that is
// paused holds none.
#pragma once

#include "virtio/features.hpp"
#include "virtio/queue_registers.hpp"

#include <cstdint>
#include <vector>

namespace aerate::virtio {

struct TransportState {
    struct Queue {
        QueueRegisters registers;
        QueuePosition position;
        bool operator==(const Queue&) const = default;
    };
    std::uint8_t status = 0;
    std::uint32_t interrupt_status = 0;
    std::uint32_t config_generation = 0;
    std::uint32_t device_features_select = 0;
    std::uint32_t driver_features_select = 0;
    std::uint32_t queue_select = 0;
    FeatureSet accepted;
    std::vector<Queue> queues;
    bool operator==(const TransportState&) const = default;
};

} // namespace aerate::virtio
