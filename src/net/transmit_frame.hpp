// One frame on its way out of the guest's memory.
//
// Its header and Ethernet addresses are copied, and both looked at and sent from the copy: a guest that rewrites them
// meanwhile changes nothing that was checked.
#pragma once

#include "memory/guest_memory.hpp"
#include "net/backend.hpp"
#include "net/wire.hpp"
#include "virtio/host_pieces.hpp"
#include "virtio/virtqueue.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

namespace aerate::net {

class TransmitFrame {
public:
    /// Takes a chain apart. False when it is no frame: not RAM, writable buffers, shorter than header and addresses,
    /// longer than max_frame, or in more pieces than a system call takes.
    [[nodiscard]] bool assign(const GuestMemory& memory, const virtio::DescriptorChain& chain) {
        pieces_.assign(1, {});
        size_ = 0;
        if (!chain.writable.empty())
            return false;
        for (const virtio::Buffer& buffer : chain.readable) {
            size_ += buffer.length;
            if (size_ > max_frame || !virtio::append_host_pieces(memory, buffer, pieces_))
                return false;
        }
        return size_ >= head_.size() && copy_head() && pieces_.size() <= BackEnd::iovecs_max;
    }

    [[nodiscard]] std::size_t size() const { return size_; } ///< with the header
    [[nodiscard]] std::span<const iovec> pieces() const { return pieces_; }
    [[nodiscard]] bool is_from(const MacAddress& mac) const {
        return std::memcmp(head_.data() + header::size + source_mac_offset, mac.data(), mac.size()) == 0;
    }

private:
    [[nodiscard]] bool copy_head() {
        std::size_t copied = 0;
        auto piece = pieces_.begin() + 1;
        for (; piece != pieces_.end() && copied < head_.size(); ++piece) {
            const std::size_t length = std::min(piece->iov_len, head_.size() - copied);
            std::memcpy(head_.data() + copied, piece->iov_base, length);
            copied += length;
            if (length < piece->iov_len) {
                piece->iov_base = static_cast<std::byte*>(piece->iov_base) + length;
                piece->iov_len -= length;
                break;
            }
        }
        pieces_.erase(pieces_.begin() + 1, piece);
        pieces_.front() = {head_.data(), head_.size()};
        return copied == head_.size();
    }

    std::array<std::byte, header::size + ethernet_header_size> head_{};
    std::vector<iovec> pieces_; ///< the head, and what follows it in the guest's memory
    std::size_t size_ = 0;
};

} // namespace aerate::net
