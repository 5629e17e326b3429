// The device's half of a virtqueue, split or packed.
//
//     for (auto chain = queue.pop(); chain && *chain; chain = queue.pop()) queue.complete((*chain)->id, 0);
//     if (queue.publish()) host.interrupt_queue(index);
//
// pop() takes chains in the order in which they were made available. complete() may come in any order and is only
// staged; publish() makes everything staged visible with one store of the index and says whether the driver wants an
// interrupt, so a batch costs one barrier and at most one interrupt.
//
// The registers are a private copy, frozen and validated at activation; each access to guest memory is bounds-checked
// as well. A RingFault is sticky: every later pop() returns it until the queue is made anew.
#pragma once

#include "base/units.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/features.hpp"
#include "virtio/queue_registers.hpp"
#include "virtio/ring_fault.hpp"

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>

namespace aerate::virtio {

/// One descriptor's buffer. The address is the guest's choice: unchecked until GuestMemory is asked.
struct Buffer {
    GuestAddress address;
    std::uint32_t length{};
};

/// Names a chain between pop() and complete(): the head index (split) or the buffer ID (packed).
struct ChainId {
    std::uint16_t value{};
    auto operator<=>(const ChainId&) const = default;
};

/// A popped chain. The spans are valid until the next pop() of the same queue: copy what is needed longer.
struct DescriptorChain {
    ChainId id;
    std::span<const Buffer> readable; ///< device-readable buffers, in order
    std::span<const Buffer> writable; ///< device-writable buffers, in order
};

/// Says what is wrong with the registers, or nothing if a queue can be made of them: size 1..max (a power of two for
/// split), alignment, each part of the ring inside one region of RAM, no wrap (R12, R13). A part that straddles two
/// adjacent regions is legal in the specification and refused here: it would cost each access a second look. Parts that
/// overlap harm only the guest.
[[nodiscard]] std::optional<RingFault> check_registers(const QueueRegisters&, std::uint16_t max_size, FeatureSet,
                                                       const GuestMemory&);

/// Checks a saved position, before a queue is made with it (P6).
[[nodiscard]] std::optional<RingFault> check_position(const QueueRegisters&, QueuePosition, FeatureSet);

class Virtqueue {
public:
    virtual ~Virtqueue() = default;

    /// Returns the next chain; nullopt when the ring is empty; a fault when its structure is broken.
    [[nodiscard]] virtual std::expected<std::optional<DescriptorChain>, RingFault> pop() = 0;
    /// Stages the chain as used; `written` counts the bytes stored into its writable buffers.
    /// REQUIRES: popped from this queue and not completed yet.
    virtual void complete(ChainId, std::uint32_t written) = 0;
    /// Undoes the last pop(): the chain is available again, as if nobody had looked. Several are given back in the
    /// reverse order of their pops. REQUIRES: of those that are in flight, none was popped later; what was popped later
    /// and completed would be lost.
    virtual void give_back(ChainId) = 0;
    /// Makes staged completions visible. True: the driver wants an interrupt.
    [[nodiscard]] virtual bool publish() = 0;

    /// Asks the driver not to kick while the device is looking anyway, and to kick again. After asking for kicks, pop()
    /// once more: a chain may have slipped in between.
    virtual void want_kicks(bool) = 0;

    /// Returns how many chains are available and not popped, as far as the ring tells now (at most size(); a packed
    /// ring is scanned). Free page hinting records it when it publishes a command ID: that many chains are stale.
    [[nodiscard]] virtual std::uint16_t available() = 0;
    [[nodiscard]] virtual std::uint16_t in_flight() const = 0;
    [[nodiscard]] virtual std::uint16_t size() const = 0;
    [[nodiscard]] virtual QueuePosition position() const = 0;
    /// Returns what broke the ring, once pop() has found it.
    [[nodiscard]] virtual std::optional<RingFault> fault() const = 0;
    /// Returns the total of chains completed, for metrics.
    [[nodiscard]] virtual std::uint64_t completed() const = 0;
};

/// REQUIRES: check_registers() and check_position() found nothing. The queue borrows `memory`.
[[nodiscard]] std::unique_ptr<Virtqueue> make_virtqueue(const QueueRegisters&, QueuePosition, FeatureSet,
                                                        GuestMemory& memory);

} // namespace aerate::virtio
