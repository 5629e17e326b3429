// A buddy system over one run of frames, with what free page reporting needs of it.
//
// A free block is on the list of its order, and each order has two lists: blocks that the host was told of, and blocks
// that it was not. The mark "reported" is which of the two a block is on. It is lost when the block is allocated, split
// or merged: only a block that is still what was reported keeps it (Linux: page_reporting_drain()).
//
// Lists are linked by frame number through the records, so that no free page is ever touched: the host may have
// discarded it. Every operation costs at most one step an order.
//
// Not thread-safe. A kernel with several processors puts its lock around each call.
#pragma once

#include "guestkit/block.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace aerate::guestkit {

/// What a zone keeps of each frame. Only the record of a block's first frame says anything.
struct FrameRecord {
    enum class State : std::uint8_t { none, free, allocated, isolated };

    std::uint32_t next{};     ///< free: in its list; allocated: the owner's to use
    std::uint32_t previous{}; ///< free: in its list
    std::uint8_t order{};
    State state = State::none;
    bool reported = false;
};

/// What stays free: `low` while blocks are isolated to be reported or hinted, which is short; `min` from uses that can
/// be done without, such as the balloon.
struct Watermarks {
    PageCount min;
    PageCount low;
};

enum class Mark : std::uint8_t { as_it_was, reported };

class Zone {
public:
    Zone() = default;
    /// All frames begin as not the allocator's: add() gives it those that are RAM and unused.
    /// REQUIRES: records.size() is the count of `frames`, which end at 2^32 - 1 or below (a balloon's PFN has 32 bits).
    Zone(PageRange frames, std::span<FrameRecord> records, Watermarks watermarks)
        : frames_(frames)
        , records_(records.data())
        , watermarks_(watermarks) {
        for (FrameRecord& record : records)
            record = {};
        for (auto& lists : heads_)
            lists.fill(no_frame);
    }

    /// REQUIRES: inside the zone, and not added before.
    void add(PageRange range) {
        managed_ += range.count;
        while (range.count.value > 0) {
            const auto alignment =
                static_cast<unsigned>(std::countr_zero(range.first.value | pages_of(max_order).value));
            const auto size = static_cast<unsigned>(std::bit_width(range.count.value)) - 1;
            const Order order{std::min({alignment, size, max_order.value})};
            release({range.first, order}, Mark::as_it_was);
            range = {{range.first.value + pages_of(order).value}, range.count - pages_of(order)};
        }
    }

    /// Returns nothing when there is no such block, or when fewer than `keep` pages would be left.
    [[nodiscard]] std::optional<FrameNumber> allocate(Order order, PageCount keep = {}) {
        if (order > max_order || free_ < pages_of(order) + keep)
            return std::nullopt;
        const unsigned large_enough = (nonempty_[false] | nonempty_[true]) >> order.value;
        if (large_enough == 0)
            return std::nullopt;
        Order found{order.value + static_cast<unsigned>(std::countr_zero(large_enough))};
        // Reported blocks last: what the host has taken it must give again.
        const bool reported = ((nonempty_[false] >> found.value) & 1U) == 0;
        const FrameNumber first{heads_[reported][found.value]};
        unlink({first, found});
        while (found > order) {
            --found.value;
            link({{first.value + pages_of(found).value}, found}, false);
        }
        record(first) = {.order = static_cast<std::uint8_t>(order.value), .state = FrameRecord::State::allocated};
        return first;
    }

    /// Returns false, and does nothing, when no allocated block begins there.
    bool free(FrameNumber first) {
        if (!has(first, FrameRecord::State::allocated))
            return false;
        release({first, Order{record(first).order}}, Mark::as_it_was);
        return true;
    }

    /// Takes free blocks of at least `threshold` that are not reported out of the lists, largest first. They belong to
    /// the caller until put_back(). What is left free stays at the low watermark or above.
    [[nodiscard]] std::size_t isolate_unreported(Order threshold, std::span<Block> into) {
        std::size_t count = 0;
        while (count < into.size() && (nonempty_[false] >> threshold.value) != 0) {
            const Order order{static_cast<unsigned>(std::bit_width(nonempty_[false])) - 1};
            if (free_ < pages_of(order) + watermarks_.low)
                break;
            const Block block{{heads_[false][order.value]}, order};
            isolate(block);
            into[count++] = block;
        }
        return count;
    }

    /// Isolates the next free block of at least `threshold` at or above the cursor; the cursor moves behind it, and to
    /// the zone's end when there is none. Where a block may not be taken for the watermark, the cursor stays.
    [[nodiscard]] std::optional<Block> isolate_next(FrameNumber& cursor, Order threshold) {
        const std::uint64_t step = pages_of(threshold).value;
        std::uint64_t frame = (std::max(cursor, frames_.first).value + step - 1) & ~(step - 1);
        for (; frame < frames_.end().value; frame += step) {
            cursor = {frame};
            if (!has(cursor, FrameRecord::State::free) || record(cursor).order < threshold.value)
                continue;
            const Block block{cursor, Order{record(cursor).order}};
            if (free_ < pages_of(block.order) + watermarks_.low)
                return std::nullopt;
            isolate(block);
            cursor = range_of(block).end();
            return block;
        }
        cursor = frames_.end();
        return std::nullopt;
    }

    /// Returns a block from isolate_*(). It is marked only if it finds no free buddy to
    /// merge with. False, and nothing done, when no isolated block begins there.
    bool put_back(FrameNumber first, Mark mark) {
        if (!has(first, FrameRecord::State::isolated))
            return false;
        release({first, Order{record(first).order}}, mark);
        return true;
    }

    [[nodiscard]] bool contains(FrameNumber frame) const { return frame >= frames_.first && frame < frames_.end(); }
    /// REQUIRES: contains(frame).
    [[nodiscard]] FrameRecord& record(FrameNumber frame) { return records_[frame.value - frames_.first.value]; }
    [[nodiscard]] const FrameRecord& record(FrameNumber frame) const {
        return records_[frame.value - frames_.first.value];
    }
    [[nodiscard]] PageRange frames() const { return frames_; }
    [[nodiscard]] PageCount managed_pages() const { return managed_; }
    [[nodiscard]] PageCount free_pages() const { return free_; }
    [[nodiscard]] PageCount reported_pages() const { return reported_; }
    [[nodiscard]] const Watermarks& watermarks() const { return watermarks_; }

private:
    static constexpr std::uint32_t no_frame = UINT32_MAX;

    [[nodiscard]] bool has(FrameNumber first, FrameRecord::State state) const {
        return contains(first) && record(first).state == state;
    }

    void release(Block block, Mark mark) {
        const bool reported = mark == Mark::reported || record(block.first).reported;
        const Order before = block.order;
        record(block.first) = {};
        while (block.order < max_order) {
            const FrameNumber buddy{block.first.value ^ pages_of(block.order).value};
            if (!has(buddy, FrameRecord::State::free) || record(buddy).order != block.order.value)
                break;
            unlink({buddy, block.order});
            block = {std::min(block.first, buddy), Order{block.order.value + 1}};
        }
        link(block, reported && block.order == before);
    }

    void isolate(Block block) {
        const bool reported = record(block.first).reported;
        unlink(block);
        record(block.first) = {.order = static_cast<std::uint8_t>(block.order.value),
                               .state = FrameRecord::State::isolated,
                               .reported = reported};
    }

    void link(Block block, bool reported) {
        const auto frame = static_cast<std::uint32_t>(block.first.value);
        std::uint32_t& head = heads_[reported][block.order.value];
        record(block.first) = {.next = head,
                               .previous = no_frame,
                               .order = static_cast<std::uint8_t>(block.order.value),
                               .state = FrameRecord::State::free,
                               .reported = reported};
        if (head != no_frame)
            record({head}).previous = frame;
        head = frame;
        nonempty_[reported] |= 1U << block.order.value;
        free_ += pages_of(block.order);
        if (reported)
            reported_ += pages_of(block.order);
    }

    void unlink(Block block) {
        const FrameRecord taken = record(block.first);
        std::uint32_t& head = heads_[taken.reported][block.order.value];
        if (taken.previous != no_frame)
            record({taken.previous}).next = taken.next;
        else
            head = taken.next;
        if (taken.next != no_frame)
            record({taken.next}).previous = taken.previous;
        if (head == no_frame)
            nonempty_[taken.reported] &= ~(1U << block.order.value);
        record(block.first) = {};
        free_ -= pages_of(block.order);
        if (taken.reported)
            reported_ -= pages_of(block.order);
    }

    PageRange frames_;
    FrameRecord* records_ = nullptr;
    Watermarks watermarks_;
    std::array<std::array<std::uint32_t, order_count>, 2> heads_{}; ///< by reported, by order
    std::array<unsigned, 2> nonempty_{};                            ///< the orders whose lists are not empty
    PageCount managed_;
    PageCount free_;
    PageCount reported_;
};

} // namespace aerate::guestkit
