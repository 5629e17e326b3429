// The loop that every device runs when it is kicked.
#pragma once

#include "virtio/device.hpp"

#include <cstdint>
#include <utility>

namespace aerate {

/// Pops chains and hands them to `take` until the queue is empty, one ring's worth is done or `take` returns false:
/// then the device is kicked again after others on the loop. Kicks are off meanwhile. A broken ring stops the device.
/// The caller publishes.
template <typename Take>
void serve_queue(virtio::Virtqueue& queue, virtio::DeviceHost& host, virtio::QueueIndex index, Take&& take) {
    queue.want_kicks(false);
    bool kicks_wanted = false;
    for (std::uint32_t budget = queue.size(); budget > 0;) {
        const auto chain = queue.pop();
        if (!chain) {
            host.needs_reset(index, virtio::describe(chain.error()));
            return;
        }
        if (!*chain) {
            // A chain may slip in before the driver sees that we want kicks again, so look once more.
            if (kicks_wanted)
                return;
            queue.want_kicks(true);
            kicks_wanted = true;
            continue;
        }
        if (std::exchange(kicks_wanted, false))
            queue.want_kicks(false);
        --budget;
        if (!take(**chain))
            break;
    }
    host.kick_again(index);
}

} // namespace aerate
