// Free page reporting (virtio 1.2, 5.5.6.6): one chain of up to 32 isolated blocks at a time, which go back to the
// allocator, marked, when the host has used the chain. The promise is the guest's: it does not touch them before.
#pragma once

#include "guestkit/buddy_allocator.hpp"
#include "guestkit/channel.hpp"

#include <array>
#include <cstdint>
#include <cstring>

namespace aerate::guestkit {

template <typename Ring, Transport T>
class Reporting {
public:
    static constexpr std::size_t capacity = 32; ///< PAGE_REPORTING_CAPACITY

    struct Options {
        Order threshold = huge_page_order;
        bool keeps_its_word = true; ///< false: writes into the blocks while the host has them
    };

    Reporting(T& transport, BuddyAllocator& allocator, Channel<Ring, T> channel, Options options)
        : transport_(&transport)
        , allocator_(&allocator)
        , channel_(channel)
        , options_(options) {}

    /// Takes back a batch that is done, and sends the next. Never waits. A kernel calls it from a timer: Linux waits
    /// two seconds, so that blocks which are soon allocated again are not reported in vain.
    void step() {
        if (channel_.take_used())
            put_back();
        if (count_ > 0)
            return;
        count_ = allocator_->isolate_unreported(options_.threshold, blocks_);
        if (count_ > 0)
            send();
    }

    /// Returns whether nothing is in flight and there is nothing to report.
    [[nodiscard]] bool idle() const { return count_ == 0; }
    [[nodiscard]] PageCount reported() const { return reported_; } ///< ever
    [[nodiscard]] Channel<Ring, T>& channel() { return channel_; }

private:
    void send() {
        std::array<virtio::DriverBuffer, capacity> chain;
        for (std::size_t i = 0; i < count_; ++i)
            chain[i] = {address_of(blocks_[i].first),
                        static_cast<std::uint32_t>(bytes_of(pages_of(blocks_[i].order)).value), true};
        if (!channel_.add({chain.data(), count_}, 0)) {
            // The ring is shorter than a batch. Linux does without reporting then.
            for (std::size_t i = 0; i < count_; ++i)
                allocator_->put_back(blocks_[i].first, Mark::as_it_was);
            count_ = 0;
            return;
        }
        channel_.flush();
        if (!options_.keeps_its_word)
            for (std::size_t i = 0; i < count_; ++i)
                std::memset(transport_->page(blocks_[i].first), 0x5a, page_size.value);
    }

    void put_back() {
        for (std::size_t i = 0; i < count_; ++i) {
            reported_ += pages_of(blocks_[i].order);
            allocator_->put_back(blocks_[i].first, Mark::reported);
        }
        count_ = 0;
    }

    T* transport_;
    BuddyAllocator* allocator_;
    Channel<Ring, T> channel_;
    Options options_;
    std::array<Block, capacity> blocks_{};
    std::size_t count_ = 0;
    PageCount reported_;
};

} // namespace aerate::guestkit
