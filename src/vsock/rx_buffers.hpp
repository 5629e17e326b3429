// The guest's buffers for packets that come from the host, taken out of their ring and not yet filled. A few of them,
// so that one read of a stream fills many: Linux has room for 4 KiB in each.
#pragma once

#include "memory/guest_memory.hpp"
#include "virtio/virtqueue.hpp"
#include "vsock/packet.hpp"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <vector>

namespace aerate::vsock {

class RxBuffers {
public:
    explicit RxBuffers(GuestMemory& memory)
        : memory_(memory) {}

    /// Takes buffers until there are enough for the largest packet, or the ring is empty. Those in which no packet has
    /// room go back as they are. False: there is none.
    [[nodiscard]] std::expected<bool, virtio::RingFault> refill(virtio::Virtqueue&);
    [[nodiscard]] bool empty() const { return count_ == 0; }

    /// A packet without payload. REQUIRES: not empty.
    void put(virtio::Virtqueue&, const Header&);
    /// Where the payload of the next packets goes, `bytes` at most. Valid until the next call.
    [[nodiscard]] std::span<const iovec> room(std::uint32_t bytes);
    /// So much is there, at the beginning of room(): `header_of(length)` is asked for each packet that it makes.
    template <typename HeaderOf>
    void put_data(virtio::Virtqueue& queue, std::size_t bytes, HeaderOf&& header_of) {
        while (bytes > 0) {
            const auto piece = static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, first().payload_room()));
            finish(queue, header_of(piece), piece);
            bytes -= piece;
        }
    }

    /// All go back empty, which Linux's driver drops.
    void give_back(virtio::Virtqueue&);
    /// The ring is gone, and they with it.
    void forget() { count_ = 0; }

private:
    static constexpr std::size_t most = 16;
    struct Buffers {
        virtio::ChainId chain;
        std::vector<virtio::Buffer> buffers;
        std::vector<iovec> mapped;
        std::uint64_t capacity = 0;
        [[nodiscard]] std::uint64_t payload_room() const { return capacity - header_bytes; }
    };
    [[nodiscard]] Buffers& first() { return taken_[first_]; }
    /// Writes the header in front of its payload, and completes the buffer.
    void finish(virtio::Virtqueue&, const Header&, std::uint32_t payload);

    GuestMemory& memory_;
    std::array<Buffers, most> taken_; ///< a ring of `count_` from `first_` on
    std::size_t first_ = 0;
    std::size_t count_ = 0;
    std::vector<iovec> room_;
};

} // namespace aerate::vsock
