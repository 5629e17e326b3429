// The statistics queue (virtio 1.2, 5.5.6.3): the device returns the driver's one buffer to ask for fresh numbers.
#pragma once

#include "guestkit/buddy_allocator.hpp"
#include "guestkit/channel.hpp"

#include <cstdint>
#include <cstring>
#include <optional>

namespace aerate::guestkit {

template <typename Ring, Transport T>
class Statistics {
public:
    [[nodiscard]] static std::optional<Statistics> open(T& transport, BuddyAllocator& allocator, Arena& arena,
                                                        std::uint16_t index,
                                                        typename Channel<Ring, T>::Options options) {
        const auto buffer = arena.cut({entry_count * entry_bytes});
        auto channel = Channel<Ring, T>::open(transport, arena, index, options);
        if (!buffer || !channel)
            return std::nullopt;
        return Statistics(allocator, *buffer, *channel);
    }

    /// Queues the first buffer, after DRIVER_OK.
    void start() { send(); }
    void step() {
        if (channel_.take_used())
            send();
    }

private:
    static constexpr std::uint16_t free_memory = 4;
    static constexpr std::uint16_t total_memory = 5;
    static constexpr std::uint16_t available_memory = 6;
    static constexpr std::size_t entry_count = 3;
    static constexpr std::size_t entry_bytes = 10; ///< tag u16, value u64, packed

    Statistics(BuddyAllocator& allocator, virtio::RingMemory buffer, Channel<Ring, T> channel)
        : allocator_(&allocator)
        , buffer_(buffer)
        , channel_(channel) {}

    void send() {
        put(0, free_memory, allocator_->free_pages());
        put(1, total_memory, allocator_->managed_pages());
        put(2, available_memory, allocator_->free_pages());
        const virtio::DriverBuffer buffer{buffer_.guest, entry_count * entry_bytes, false};
        if (channel_.add({&buffer, 1}, 0))
            channel_.flush();
    }
    void put(std::size_t index, std::uint16_t tag, PageCount pages) {
        const std::uint64_t bytes = bytes_of(pages).value;
        std::byte* const entry = buffer_.host + index * entry_bytes;
        std::memcpy(entry, &tag, sizeof tag);
        std::memcpy(entry + sizeof tag, &bytes, sizeof bytes);
    }

    BuddyAllocator* allocator_;
    virtio::RingMemory buffer_;
    Channel<Ring, T> channel_;
};

} // namespace aerate::guestkit
