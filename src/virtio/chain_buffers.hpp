// Collects the buffers of one chain and holds what both kinds of ring demand of it: readable before writable, at most
// as many as the ring has descriptors, at most 2^32 bytes, at most one indirect table, at the end.
//
// Each descriptor is copied once and then looked at, since another vCPU may rewrite it meanwhile (R20).
#pragma once

#include "memory/guest_memory.hpp"
#include "virtio/ring_fault.hpp"
#include "virtio/ring_layout.hpp"
#include "virtio/virtqueue.hpp"

#include <cstdint>
#include <expected>
#include <span>
#include <vector>

namespace aerate::virtio {

class ChainBuffers {
public:
    enum class TableOrder : std::uint8_t {
        linked,     ///< split: entries name the next (2.7.5.3)
        sequential, ///< packed: all entries, one after the other (2.8.7)
    };

    ChainBuffers(std::uint16_t ring_size, TableOrder order, bool indirect_negotiated, const GuestMemory& memory);

    void clear();
    /// Adds what one descriptor of the ring refers to: a buffer, or an indirect table of buffers.
    [[nodiscard]] std::expected<void, RingFault> add(GuestAddress, std::uint32_t length, std::uint16_t flags);

    [[nodiscard]] std::span<const Buffer> readable() const { return std::span(buffers_).first(readable_); }
    [[nodiscard]] std::span<const Buffer> writable() const { return std::span(buffers_).subspan(readable_); }

private:
    [[nodiscard]] std::expected<void, RingFault> add_buffer(GuestAddress, std::uint32_t length, std::uint16_t flags);
    [[nodiscard]] std::expected<void, RingFault> add_table(GuestAddress, std::uint32_t length);
    [[nodiscard]] std::expected<void, RingFault> add_linked(GuestAddress table, std::uint32_t entries);
    [[nodiscard]] std::expected<void, RingFault> add_sequential(GuestAddress table, std::uint32_t entries);

    const GuestMemory* memory_;
    std::vector<Buffer> buffers_; ///< readable ones, then writable ones; capacity is the ring's size from the start
    std::size_t readable_ = 0;
    std::uint64_t bytes_ = 0;
    std::uint16_t ring_size_;
    TableOrder order_;
    bool indirect_negotiated_;
};

} // namespace aerate::virtio
