// Visits the free blocks, each at most once a round, a few at a time. A visitor holds no more than it has in hand, so
// that the allocator is never drained: the way of hinting that needs no shrinker.
//
// The order is by address. A block that is freed behind the cursor is left for the next round.
#pragma once

#include "guestkit/buddy_allocator.hpp"

#include <cstddef>
#include <span>

namespace aerate::guestkit {

class FreePageIterator {
public:
    FreePageIterator(BuddyAllocator& allocator, Order threshold)
        : allocator_(&allocator)
        , threshold_(threshold) {}

    void restart() {
        zone_ = 0;
        cursor_ = {};
    }
    [[nodiscard]] bool finished() const { return zone_ == allocator_->zones().size(); }

    /// Isolates the next blocks. They go back by BuddyAllocator::put_back(). Fewer than asked for when the round is
    /// over, or when more must not be taken before some have come back.
    [[nodiscard]] std::size_t isolate(std::span<Block> into) {
        std::size_t count = 0;
        while (count < into.size() && !finished()) {
            Zone& zone = allocator_->zones()[zone_];
            if (const auto block = zone.isolate_next(cursor_, threshold_)) {
                into[count++] = *block;
            } else if (cursor_ >= zone.frames().end()) {
                ++zone_;
                cursor_ = {};
            } else {
                break;
            }
        }
        return count;
    }
    /// Gives up the rest of a zone that is too short for even one block.
    void skip_zone() {
        ++zone_;
        cursor_ = {};
    }

private:
    BuddyAllocator* allocator_;
    Order threshold_;
    std::size_t zone_ = 0;
    FrameNumber cursor_;
};

} // namespace aerate::guestkit
