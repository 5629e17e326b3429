// What a transport counts. Any thread adds, any thread reads; the values need no order among each other.
#pragma once

#include "virtio/ring_fault.hpp"

#include <algorithm>
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

/// TransportCounters that a transport adds to.
struct LiveTransportCounters {
    Counter ignored_writes, refused_queues, refused_features, resets, kicks, queue_interrupts, config_interrupts,
        needs_reset;
    std::array<Counter, ring_fault_kinds> ring_faults;

    void add(RingFault fault) { ring_faults[static_cast<std::size_t>(fault)].add(); }
    [[nodiscard]] TransportCounters values() const {
        TransportCounters result{
            .ignored_writes = ignored_writes.value(),
            .refused_queues = refused_queues.value(),
            .refused_features = refused_features.value(),
            .resets = resets.value(),
            .kicks = kicks.value(),
            .queue_interrupts = queue_interrupts.value(),
            .config_interrupts = config_interrupts.value(),
            .needs_reset = needs_reset.value(),
        };
        std::ranges::transform(ring_faults, result.ring_faults.begin(), &Counter::value);
        return result;
    }
};

} // namespace aerate::virtio
