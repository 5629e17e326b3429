// One queue of a driver: the ring, and the doorbell that belongs to it.
#pragma once

#include "guestkit/arena.hpp"
#include "guestkit/transport.hpp"
#include "virtio/driver_queue.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <span>

namespace aerate::guestkit {

template <typename Ring, Transport T>
class Channel {
public:
    struct Options {
        std::uint16_t size_limit = 128;
        bool event_index = false;
        bool interrupts = false;
    };

    /// Makes the ring and gives it to the device. Nothing when the device has no such queue, or the arena no room.
    [[nodiscard]] static std::optional<Channel> open(T& transport, Arena& arena, std::uint16_t index, Options options) {
        const auto size = std::bit_floor(std::min(transport.max_queue_size(index), options.size_limit));
        if (size == 0)
            return std::nullopt;
        const auto memory = arena.cut(Ring::ring_bytes(size));
        const auto slots = arena.cut({sizeof(virtio::DriverSlot) * size});
        if (!memory || !slots)
            return std::nullopt;
        Channel channel(transport, index,
                        Ring(*memory, {reinterpret_cast<virtio::DriverSlot*>(slots->host), size},
                             {.event_index = options.event_index}));
        channel.ring_.want_interrupts(options.interrupts);
        if (!transport.set_queue(index, channel.ring_.registers()))
            return std::nullopt;
        return channel;
    }

    /// Adds a chain, which the device does not see until publish().
    [[nodiscard]] bool add(std::span<const virtio::DriverBuffer> chain, std::uint32_t token) {
        return ring_.add(chain, token);
    }
    /// Lets the device see the chains, but does not wake it. A kick that it wants is owed until kick() or flush().
    void publish() { kick_owed_ |= ring_.publish(); }
    void kick() {
        kick_owed_ = false;
        transport_->kick(index_);
    }
    void flush() {
        publish();
        if (kick_owed_)
            kick();
    }
    [[nodiscard]] std::optional<virtio::UsedChain> take_used() { return ring_.take_used(); }
    [[nodiscard]] std::uint16_t free_slots() const { return ring_.free_slots(); }
    [[nodiscard]] std::uint16_t index() const { return index_; }

private:
    Channel(T& transport, std::uint16_t index, Ring ring)
        : transport_(&transport)
        , index_(index)
        , ring_(ring) {}

    T* transport_;
    std::uint16_t index_;
    Ring ring_;
    bool kick_owed_ = false;
};

} // namespace aerate::guestkit
