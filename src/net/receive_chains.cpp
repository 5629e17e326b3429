#include "net/receive_chains.hpp"

#include "base/check.hpp"
#include "base/endian.hpp"
#include "base/error.hpp"
#include "virtio/host_pieces.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace aerate::net {

std::expected<void, virtio::RingFault> ReceiveChains::fill(virtio::Virtqueue& queue, std::size_t bytes, bool one) {
    // Chains that are of no use are popped as well: no more of them than the ring has.
    for (unsigned looked_at = 0; looked_at < queue.size(); ++looked_at) {
        if (one ? room_ > 0 : room_ >= bytes || full())
            return {};
        const auto chain = TRY(queue.pop());
        if (!chain)
            return {};
        add(*chain);
        complete_useless(queue);
    }
    return {};
}

void ReceiveChains::add(const virtio::DescriptorChain& chain) {
    if (chains_.empty()) {
        buffers_.clear();
        pieces_.clear();
        first_buffer_ = first_piece_ = 0;
    }
    const std::size_t pieces = pieces_.size();
    std::size_t bytes = 0;
    bool good = chain.readable.empty();
    for (const virtio::Buffer& buffer : chain.writable) {
        good = good && virtio::append_host_pieces(memory_, buffer, pieces_);
        bytes += buffer.length;
    }
    good = good && bytes >= header::size && pieces_.size() - pieces <= pieces_ahead;
    if (!good) {
        ++malformed_;
        pieces_.resize(pieces);
        chains_.push_back({.id = chain.id});
        return;
    }
    buffers_.insert(buffers_.end(), chain.writable.begin(), chain.writable.end());
    chains_.push_back({chain.id, chain.writable.size(), pieces_.size() - pieces, bytes});
    room_ += bytes;
}

std::span<const iovec> ReceiveChains::target(bool one, std::span<std::byte> spill) {
    const auto first = pieces_.begin() + static_cast<std::ptrdiff_t>(first_piece_);
    target_.assign(first, one ? first + static_cast<std::ptrdiff_t>(chains_.front().pieces) : pieces_.end());
    target_.push_back({spill.data(), spill.size()});
    return target_;
}

void ReceiveChains::copy(std::size_t offset, std::span<const std::byte> bytes) {
    for (std::size_t i = first_piece_; i < pieces_.size() && !bytes.empty(); ++i) {
        const iovec& piece = pieces_[i];
        if (offset >= piece.iov_len) {
            offset -= piece.iov_len;
            continue;
        }
        const std::size_t length = std::min(bytes.size(), piece.iov_len - offset);
        std::memcpy(static_cast<std::byte*>(piece.iov_base) + offset, bytes.data(), length);
        bytes = bytes.subspan(length);
        offset = 0;
    }
    CHECK(bytes.empty());
}

void ReceiveChains::deliver(virtio::Virtqueue& queue, std::size_t bytes) {
    CHECK(bytes >= header::size && bytes <= room_);
    std::uint16_t count = 0;
    for (std::size_t left = bytes; left > 0; ++count)
        left -= std::min(left, chains_[count].bytes);
    std::array<std::byte, 2> number{};
    store_little_endian(std::span<std::byte>(number), count);
    copy(header::num_buffers, number);

    log_first(bytes);
    undelivered_ = 0;
    for (std::size_t left = bytes; left > 0;) {
        const std::size_t written = std::min(left, chains_.front().bytes);
        complete_first(queue, written);
        left -= written;
    }
    complete_useless(queue);
}

void ReceiveChains::log_first(std::size_t bytes) {
    for (std::size_t i = first_buffer_; i < buffers_.size() && bytes > 0; ++i) {
        const auto length = std::min<std::size_t>(bytes, buffers_[i].length);
        memory_.wrote(buffers_[i].address, ByteCount{length});
        bytes -= length;
    }
}

void ReceiveChains::complete_useless(virtio::Virtqueue& queue) {
    while (!chains_.empty() && chains_.front().bytes == 0)
        complete_first(queue, 0);
}

void ReceiveChains::complete_first(virtio::Virtqueue& queue, std::size_t written) {
    const Chain chain = chains_.front();
    queue.complete(chain.id, static_cast<std::uint32_t>(written));
    first_buffer_ += chain.buffers;
    first_piece_ += chain.pieces;
    room_ -= chain.bytes;
    chains_.pop_front();
    constexpr std::size_t worth_moving = 4096;
    if (first_piece_ < worth_moving && first_buffer_ < worth_moving)
        return;
    buffers_.erase(buffers_.begin(), buffers_.begin() + static_cast<std::ptrdiff_t>(first_buffer_));
    pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(first_piece_));
    first_buffer_ = first_piece_ = 0;
}

void ReceiveChains::give_back(virtio::Virtqueue& queue) {
    for (; !chains_.empty(); chains_.pop_back())
        queue.give_back(chains_.back().id);
    forget();
}

void ReceiveChains::forget() {
    log_first(undelivered_);
    undelivered_ = 0;
    chains_.clear();
    buffers_.clear();
    pieces_.clear();
    first_buffer_ = first_piece_ = 0;
    room_ = 0;
}

} // namespace aerate::net
