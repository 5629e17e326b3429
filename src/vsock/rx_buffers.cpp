#include "vsock/rx_buffers.hpp"

#include "base/check.hpp"
#include "virtio/host_pieces.hpp"

#include <cstring>

namespace aerate::vsock {
namespace {

constexpr std::size_t most_pieces = 1024; // of one readv(2): UIO_MAXIOV

/// Copies the bytes into the first of the pieces. REQUIRES: they have room.
void scatter(std::span<const iovec> pieces, std::span<const std::byte> bytes) {
    for (const iovec& piece : pieces) {
        const auto part = bytes.first(std::min(bytes.size(), piece.iov_len));
        if (!part.empty())
            std::memcpy(piece.iov_base, part.data(), part.size());
        bytes = bytes.subspan(part.size());
    }
}

} // namespace

std::expected<bool, virtio::RingFault> RxBuffers::refill(virtio::Virtqueue& queue) {
    std::uint64_t room = 0;
    for (std::size_t i = 0; i < count_; ++i)
        room += taken_[(first_ + i) % most].payload_room();
    // A ring's worth, should all of them be of no use.
    for (unsigned tries = queue.size(); count_ < most && room < payload_max && tries > 0; --tries) {
        const auto chain = TRY(queue.pop());
        if (!chain)
            break;
        Buffers& taken = taken_[(first_ + count_) % most];
        taken.chain = chain->id;
        taken.buffers.assign(chain->writable.begin(), chain->writable.end());
        taken.mapped.clear();
        taken.capacity = 0;
        for (const virtio::Buffer& buffer : taken.buffers)
            taken.capacity += buffer.length;
        const bool mapped = std::ranges::all_of(taken.buffers, [&](const virtio::Buffer& buffer) {
            return virtio::append_host_pieces(memory_, buffer, taken.mapped);
        });
        if (taken.capacity <= header_bytes || !mapped) {
            queue.complete(taken.chain, 0);
            continue;
        }
        room += taken.payload_room();
        ++count_;
    }
    return count_ > 0;
}

void RxBuffers::put(virtio::Virtqueue& queue, const Header& header) {
    finish(queue, header, 0);
}

std::span<const iovec> RxBuffers::room(std::uint32_t bytes) {
    room_.clear();
    std::uint64_t left = bytes;
    for (std::size_t i = 0; i < count_; ++i) {
        std::uint64_t skip = header_bytes;
        for (const iovec& piece : taken_[(first_ + i) % most].mapped) {
            const std::uint64_t begin = std::min<std::uint64_t>(skip, piece.iov_len);
            skip -= begin;
            const std::uint64_t length = std::min<std::uint64_t>(left, piece.iov_len - begin);
            if (length == 0)
                continue;
            if (room_.size() == most_pieces)
                return room_;
            room_.push_back({static_cast<std::byte*>(piece.iov_base) + begin, length});
            left -= length;
        }
    }
    return room_;
}

// The bytes of the payload are stored already; they and the header are logged as written, and nothing beyond them.
void RxBuffers::finish(virtio::Virtqueue& queue, const Header& header, std::uint32_t payload) {
    CHECK(count_ > 0);
    Buffers& taken = first();
    scatter(taken.mapped, encode(header));
    const auto length = static_cast<std::uint32_t>(header_bytes) + payload;
    std::uint64_t left = length;
    for (const virtio::Buffer& buffer : taken.buffers) {
        const std::uint64_t part = std::min<std::uint64_t>(left, buffer.length);
        memory_.wrote(buffer.address, ByteCount{part});
        left -= part;
    }
    queue.complete(taken.chain, length);
    first_ = (first_ + 1) % most;
    --count_;
}

void RxBuffers::give_back(virtio::Virtqueue& queue) {
    for (; count_ > 0; --count_, first_ = (first_ + 1) % most)
        queue.complete(first().chain, 0);
}

} // namespace aerate::vsock
