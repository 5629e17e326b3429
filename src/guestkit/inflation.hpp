// The balloon itself (virtio 1.2, 5.5.6.1): frames that the guest gives up because the host asks for them. One buffer
// of up to 256 frames at a time, as Linux does; a frame is free again only when the host has used the buffer that says
// so.
#pragma once

#include "guestkit/balloon_wire.hpp"
#include "guestkit/block_stack.hpp"
#include "guestkit/channel.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>

namespace aerate::guestkit {

template <typename Ring, Transport T>
class Inflation {
public:
    static constexpr std::uint32_t batch = 256; ///< VIRTIO_BALLOON_ARRAY_PFNS_MAX

    [[nodiscard]] static std::optional<Inflation> open(T& transport, BuddyAllocator& allocator, Arena& arena,
                                                       typename Channel<Ring, T>::Options options) {
        const auto frames = arena.cut({batch * sizeof(std::uint32_t)});
        auto inflate = Channel<Ring, T>::open(transport, arena, inflate_queue, options);
        auto deflate = Channel<Ring, T>::open(transport, arena, deflate_queue, options);
        if (!frames || !inflate || !deflate)
            return std::nullopt;
        return Inflation(transport, allocator, *frames, *inflate, *deflate);
    }

    /// Goes towards what the host wants from now on.
    void set_target(PageCount target) {
        target_ = target;
        towards_target_ = true;
    }
    /// Takes pages back against the host's wish (DEFLATE_ON_OOM). Stays so until the next set_target().
    void give_back(PageCount pages) {
        target_ = {inflated_.value - std::min(inflated_, pages).value};
        towards_target_ = true;
    }

    /// Queues one buffer at most. Never waits.
    void step() {
        if (count_ > 0)
            finish();
        if (count_ > 0 || !towards_target_)
            return;
        if (inflated_ < target_)
            inflate(target_ - inflated_);
        else if (inflated_ > target_)
            deflate(inflated_ - target_);
        else
            towards_target_ = false;
    }

    [[nodiscard]] PageCount inflated() const { return inflated_; }
    [[nodiscard]] bool idle() const { return count_ == 0 && !towards_target_; }
    [[nodiscard]] Channel<Ring, T>& inflate_channel() { return inflate_; }
    [[nodiscard]] Channel<Ring, T>& deflate_channel() { return deflate_; }

private:
    Inflation(T& transport, BuddyAllocator& allocator, virtio::RingMemory frames, Channel<Ring, T> inflate,
              Channel<Ring, T> deflate)
        : transport_(&transport)
        , allocator_(&allocator)
        , frames_(frames)
        , inflate_(inflate)
        , deflate_(deflate)
        , pages_(allocator) {}

    void inflate(PageCount pages) {
        while (count_ < std::min<std::uint64_t>(pages.value, batch)) {
            const auto frame = allocator_->allocate_spare(Order{0});
            if (!frame)
                break;
            put(*frame);
        }
        // Short of memory: not again until the host asks again. (Linux tries once in 200 ms.)
        towards_target_ = count_ > 0;
        deflating_ = false;
        send(inflate_);
    }
    void deflate(PageCount pages) {
        while (count_ < std::min<std::uint64_t>(pages.value, batch)) {
            const auto frame = pages_.pop();
            if (!frame)
                break;
            put(*frame);
        }
        deflating_ = true;
        send(deflate_);
    }
    void send(Channel<Ring, T>& channel) {
        const virtio::DriverBuffer buffer{frames_.guest, static_cast<std::uint32_t>(count_ * sizeof(std::uint32_t)),
                                          false};
        if (count_ > 0 && channel.add({&buffer, 1}, 0))
            channel.flush();
    }
    void finish() {
        if (!(deflating_ ? deflate_ : inflate_).take_used())
            return;
        for (std::uint32_t i = 0; i < count_; ++i)
            deflating_ ? void(allocator_->free(frame_at(i))) : pages_.push(frame_at(i));
        inflated_ = deflating_ ? inflated_ - PageCount{count_} : inflated_ + PageCount{count_};
        count_ = 0;
        transport_->write_config(balloon_config::actual, static_cast<std::uint32_t>(inflated_.value));
    }

    void put(FrameNumber frame) {
        const auto pfn = static_cast<std::uint32_t>(frame.value);
        std::memcpy(frames_.host + count_++ * sizeof pfn, &pfn, sizeof pfn);
    }
    [[nodiscard]] FrameNumber frame_at(std::uint32_t index) const {
        std::uint32_t pfn = 0;
        std::memcpy(&pfn, frames_.host + index * sizeof pfn, sizeof pfn);
        return {pfn};
    }

    T* transport_;
    BuddyAllocator* allocator_;
    virtio::RingMemory frames_; ///< of the buffer that the device has
    Channel<Ring, T> inflate_;
    Channel<Ring, T> deflate_;
    BlockStack pages_;
    std::uint32_t count_ = 0;
    bool deflating_ = false;
    PageCount target_;
    PageCount inflated_;
    bool towards_target_ = false;
};

} // namespace aerate::guestkit
