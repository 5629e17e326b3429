// Where a network card's frames go to and come from: a tap, a user-mode stack behind a socket. Each frame has a
// virtio-net header of 12 bytes before it, in both directions.
//
// Lives on the card's loop. None of this blocks.
#pragma once

#include "net/offloads.hpp"

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace aerate::net {

enum class Outcome : std::uint8_t {
    done,
    local,   ///< done, within this monitor: what never is on a network costs no rate limiter
    later,   ///< there is no frame, or no room for one: its descriptor tells when
    dropped, ///< this frame went nowhere
    gone,    ///< there will be no frame any more
};

struct Received {
    Outcome outcome{};
    std::size_t bytes{}; ///< with the header
};

[[nodiscard]] inline std::size_t size_of(std::span<const iovec> pieces) {
    std::size_t size = 0;
    for (const iovec& piece : pieces)
        size += piece.iov_len;
    return size;
}

class BackEnd {
public:
    virtual ~BackEnd() = default;
    /// For messages: "tap tap0".
    [[nodiscard]] virtual std::string label() const = 0;
    /// Whether it takes frames without checksum and larger than the network's, and may give such. The features are
    /// offered only then.
    [[nodiscard]] virtual bool offloads() const = 0;
    /// What it may give from now on.
    virtual void set_guest_offloads(GuestOffloads) = 0;
    /// Whether the network puts frames for the guest here: of a card's back ends the first always has some, the others
    /// from then on. False if the host refuses; nothing has changed then.
    [[nodiscard]] virtual bool set_used(bool) { return true; }

    /// Readable when receive() has something to say.
    [[nodiscard]] virtual int readable() const = 0;
    /// Writable when send() may succeed after it said `later`. Another descriptor than readable(), since a loop watches
    /// each of its descriptors for one thing.
    [[nodiscard]] virtual int writable() const = 0;
    /// Reads one frame. What does not fit is cut off, and `bytes` does not say so: give it max_frame bytes.
    [[nodiscard]] virtual Received receive(std::span<const iovec>) = 0;
    /// Writes one frame. At most `iovecs_max` pieces.
    [[nodiscard]] virtual Outcome send(std::span<const iovec>) = 0;
    /// Sends what a socket did not take of the last frame; `later`: again when it is writable.
    [[nodiscard]] virtual Outcome flush() { return Outcome::done; }
    static constexpr std::size_t iovecs_max = 1024; // UIO_MAXIOV
};

/// A card's: one for each pair of queues, all to the same network. The first is in use, the others are not.
using BackEnds = std::vector<std::shared_ptr<BackEnd>>;

} // namespace aerate::net
