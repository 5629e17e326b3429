// Memory that driver and device share, cut from one physically contiguous piece.
#pragma once

#include "virtio/driver_queue.hpp"

#include <optional>
#include <span>

namespace aerate::guestkit {

class Arena {
public:
    Arena(virtio::RingMemory memory, ByteCount length)
        : next_(memory)
        , left_(length) {}

    /// Returns memory aligned to 64 bytes, or nothing when it does not fit.
    [[nodiscard]] std::optional<virtio::RingMemory> cut(ByteCount length) {
        const ByteCount rounded{(length.value + 63) & ~63ULL};
        if (rounded > left_)
            return std::nullopt;
        const virtio::RingMemory piece = next_;
        next_ = {piece.host + rounded.value, {piece.guest.value + rounded.value}};
        left_ -= rounded;
        return piece;
    }

private:
    virtio::RingMemory next_;
    ByteCount left_;
};

} // namespace aerate::guestkit
