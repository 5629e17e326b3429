// The loop that every device runs when it serves a queue.
#pragma once

#include "virtio/virtqueue.hpp"

#include <cstddef>
#include <expected>
#include <type_traits>

namespace aerate::virtio {

/// Chains may share their descriptors, so a ring of 32768 can hold half a thousand million buffers.
inline constexpr std::size_t max_turn_buffers = 1U << 12;

/// Pops chains and hands them to `take`, which may return false to end its turn: at most `limit` of them, and none
/// after max_turn_buffers. True when that ended it, so that others on the loop get theirs.
template <typename Take>
[[nodiscard]] std::expected<bool, RingFault> take_chains(Virtqueue& queue, unsigned limit, Take&& take) {
    std::size_t buffers = 0;
    for (unsigned taken = 0; taken < limit && buffers < max_turn_buffers; ++taken) {
        const auto chain = queue.pop();
        if (!chain)
            return std::unexpected(chain.error());
        if (!*chain)
            return false;
        buffers += (*chain)->readable.size() + (*chain)->writable.size();
        if constexpr (std::is_void_v<decltype(take(**chain))>)
            take(**chain);
        else if (!take(**chain))
            break;
    }
    return true;
}

} // namespace aerate::virtio
