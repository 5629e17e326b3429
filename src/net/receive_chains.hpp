// The guest's receive buffers that the device holds: chains popped ahead, so that a frame is read straight into them.
//
//     chains.fill(queue, max_frame);                    // as much as there is
//     const auto got = back_end.receive(chains.target(spill));
//     chains.deliver(queue, got.bytes, ...);            // completes those that hold the frame
//     chains.give_back(queue);                          // a pause: the others are available again
//
// What is delivered has been recorded in the write log, after the bytes were there and before the driver is told.
#pragma once

#include "memory/guest_memory.hpp"
#include "net/backend.hpp"
#include "net/wire.hpp"
#include "virtio/virtqueue.hpp"

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <span>
#include <vector>

namespace aerate::net {

class ReceiveChains {
public:
    /// With the longest chain and the spill behind them they are still few enough for one system call.
    static constexpr std::size_t pieces_ahead = BackEnd::iovecs_max / 2;

    explicit ReceiveChains(GuestMemory& memory)
        : memory_(memory) {}

    /// Pops chains until there is room for `bytes`, or, with `one`, a chain at all; or until the ring has no more. A
    /// chain that can hold nothing (not RAM, readable buffers, less than a header) is counted, and completed empty when
    /// it is its turn: what is given back must be what was popped last.
    [[nodiscard]] std::expected<void, virtio::RingFault> fill(virtio::Virtqueue&, std::size_t bytes, bool one);

    /// Returns the bytes that all chains hold; first_room() those of the first.
    [[nodiscard]] std::size_t room() const { return room_; }
    /// They are in as many pieces as a system call takes: fill() pops no more.
    [[nodiscard]] bool full() const { return pieces_.size() - first_piece_ >= pieces_ahead; }
    [[nodiscard]] std::size_t first_room() const { return chains_.front().bytes; }
    /// Where a frame goes: all chains, or the first (`one`), and then `spill`. Valid until the next call of anything.
    [[nodiscard]] std::span<const iovec> target(bool one, std::span<std::byte> spill);
    /// Copies what went to the spill into chains that came since. REQUIRES: [offset, offset + size) is room.
    void copy(std::size_t offset, std::span<const std::byte> bytes);

    /// The first `bytes` may have been written, whatever becomes of them.
    void received(std::size_t bytes) { undelivered_ = bytes; }
    /// Completes the chains that the frame of `bytes` fills, with their number in its header (5.1.6.4.2).
    /// REQUIRES: header::size <= bytes <= room().
    void deliver(virtio::Virtqueue&, std::size_t bytes);
    void give_back(virtio::Virtqueue&);
    /// The queue is gone.
    void forget();

    [[nodiscard]] std::uint64_t malformed() const { return malformed_; }

private:
    struct Chain {
        virtio::ChainId id;
        std::size_t buffers{};
        std::size_t pieces{};
        std::size_t bytes{};
    };
    void add(const virtio::DescriptorChain&);
    void complete_first(virtio::Virtqueue&, std::size_t written);
    void complete_useless(virtio::Virtqueue&);
    void log_first(std::size_t bytes);

    GuestMemory& memory_;
    std::deque<Chain> chains_;
    // All chains' one after the other; those before the first are done with.
    std::vector<virtio::Buffer> buffers_;
    std::vector<iovec> pieces_;
    std::vector<iovec> target_;
    std::size_t first_buffer_ = 0;
    std::size_t first_piece_ = 0;
    std::size_t room_ = 0;
    std::size_t undelivered_ = 0;
    std::uint64_t malformed_ = 0;
};

} // namespace aerate::net
