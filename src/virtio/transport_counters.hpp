// What a transport counts. Any thread adds, any thread reads; the values need no order among each other.
#pragma once

#include "virtio/ring_fault.hpp"

#include <array>
#include <atomic>
#include <cstdint>

namespace aerate::virtio {

struct TransportCounters {
    std::uint64_t ignored_writes = 0; ///< out of order, read-only, or of a width that the register does not have
    std::uint64_t refused_queues = 0; ///< QueueReady written, registers not valid
    std::uint64_t refused_features = 0;
    std::uint64_t resets = 0;
    std::uint64_t kicks = 0;
    std::uint64_t queue_interrupts = 0;
    std::uint64_t config_interrupts = 0;
    std::uint64_t needs_reset = 0;
    std::array<std::uint64_t, ring_fault_kinds> ring_faults{}; ///< by RingFault
};

class Counter {
public:
    void add() { value_.fetch_add(1, std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> value_{0};
};

} // namespace aerate::virtio
