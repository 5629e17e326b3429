// Allocated blocks that someone keeps, last in first out, linked through the records which their frames have anyway.
#pragma once

#include "guestkit/buddy_allocator.hpp"

#include <cstdint>
#include <optional>

namespace aerate::guestkit {

class BlockStack {
public:
    explicit BlockStack(BuddyAllocator& allocator)
        : allocator_(&allocator) {}

    /// REQUIRES: an allocated block begins there, and is on no stack.
    void push(FrameNumber first) {
        FrameRecord& record = allocator_->zone_of(first)->record(first);
        record.next = top_;
        top_ = static_cast<std::uint32_t>(first.value);
        pages_ += pages_of(Order{record.order});
    }
    [[nodiscard]] std::optional<FrameNumber> pop() {
        if (top_ == empty)
            return std::nullopt;
        const FrameNumber first{top_};
        const FrameRecord& record = allocator_->zone_of(first)->record(first);
        top_ = record.next;
        pages_ -= pages_of(Order{record.order});
        return first;
    }
    [[nodiscard]] PageCount pages() const { return pages_; }

private:
    static constexpr std::uint32_t empty = UINT32_MAX;

    BuddyAllocator* allocator_;
    std::uint32_t top_ = empty;
    PageCount pages_;
};

} // namespace aerate::guestkit
