// A receive queue and a transmit queue of a network card, with their back end: what each pair has of its own.
#pragma once

#include "base/host.hpp"
#include "event/event_loop.hpp"
#include "net/backend.hpp"
#include "net/receive_chains.hpp"
#include "virtio/device.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace aerate::net {

struct QueuePair {
    /// A frame that was read and is not delivered: its buffers wait for the rate limiter, or it for more buffers.
    struct Frame {
        std::size_t bytes{};
        std::size_t spilled{}; ///< of these, what is in the spill
        bool local{};          ///< the rate limiter has no say
    };

    QueuePair(std::uint16_t number, GuestMemory& memory, std::shared_ptr<BackEnd> its_back_end,
              std::unique_ptr<std::byte[], host::FreeMemory> its_spill)
        : receive_queue{static_cast<std::uint16_t>(2 * number)}
        , transmit_queue{static_cast<std::uint16_t>(2 * number + 1)}
        , back_end(std::move(its_back_end))
        , chains(memory)
        , spill(std::move(its_spill)) {}

    void stop_receiving() {
        no_frames = false;
        frames.cancel();
    }

    virtio::QueueIndex receive_queue;
    virtio::QueueIndex transmit_queue;
    std::shared_ptr<BackEnd> back_end;

    ReceiveChains chains;
    std::unique_ptr<std::byte[], host::FreeMemory> spill; ///< what of a frame no buffer has room for
    std::optional<Frame> frame;
    Subscription frames;
    bool no_frames = false; ///< and `frames` tells when there are
    unsigned failures_in_a_row = 0;

    Subscription room; ///< for frames of the guest
};

} // namespace aerate::net
