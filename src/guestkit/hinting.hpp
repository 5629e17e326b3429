// A round of free page hinting: the start command, the blocks, the stop command; and what becomes of the blocks.
//
// The pipeline is that of a network card's receive ring: `in_flight` buffers are with the device, and when half of them
// have come back that many are added with one kick.
#pragma once

#include "guestkit/block_stack.hpp"
#include "guestkit/driver_behaviour.hpp"
#include "guestkit/free_page_iterator.hpp"
#include "guestkit/hint_queue.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

namespace aerate::guestkit {

template <typename Ring, Transport T>
class Hinting {
public:
    Hinting(BuddyAllocator& allocator, HintQueue<Ring, T> queue, HintPolicy policy, Order order)
        : allocator_(&allocator)
        , queue_(queue)
        , policy_(policy)
        , order_(order)
        , iterator_(allocator, order)
        , hoard_(allocator) {}

    /// Acts on what the host wrote into free_page_hint_cmd_id.
    void command(std::uint32_t value) {
        wanted_ = value;
        if (value == command_done)
            shrink(hoard_.pages());
    }

    /// Takes back what the device is done with, and goes on with the round by at most one batch. Never waits.
    void step() {
        take_used();
        if (active_ && wanted_ != current_)
            end_round();
        if (!active_ && wanted_ >= first_command_id && wanted_ != current_)
            begin_round();
        if (active_)
            policy_.source == HintPolicy::Source::iterate ? iterate() : hoard();
    }

    /// Frees hoarded blocks, newest first, and says how many pages that were. As in Linux, blocks whose buffers are
    /// still in the queue are among them: "the driver MAY release hinted pages even when the descriptor is not yet
    /// used".
    PageCount shrink(PageCount pages) {
        PageCount freed;
        while (freed < pages) {
            const auto block = hoard_.pop();
            if (!block)
                break;
            freed += pages_of(*allocator_->allocated_order(*block));
            allocator_->free(*block);
        }
        return freed;
    }
    /// Returns what shrink() could free.
    [[nodiscard]] PageCount hoarded() const { return hoard_.pages(); }
    [[nodiscard]] PageCount hinted() const { return hinted_; } ///< ever
    [[nodiscard]] bool active() const { return active_; }
    [[nodiscard]] HintQueue<Ring, T>& queue() { return queue_; }
    [[nodiscard]] const HintPolicy& policy() const { return policy_; }

private:
    static constexpr std::size_t most_at_once = 32;

    void begin_round() {
        const std::uint32_t previous = current_;
        if (policy_.start != HintPolicy::Start::none) {
            const auto word = policy_.word_per_command ? queue_.unused_word() : std::optional(shared_word);
            if (!word)
                return; // Too many rounds which the host has not looked at: this one can wait.
            const std::uint32_t id = policy_.start == HintPolicy::Start::current_id ? wanted_ : previous;
            // With no room for it, Linux goes on without (virtballoon_free_page_report()).
            if (!queue_.add_command(*word, id) && policy_.word_per_command)
                return;
            queue_.channel().flush();
        }
        current_ = wanted_;
        active_ = true;
        waits_for_ack_ = policy_.in_flight == 1;
        iterator_.restart();
    }

    void end_round() {
        active_ = false;
        if (policy_.word_per_command) {
            if (const auto word = queue_.unused_word())
                (void)queue_.add_command(*word, command_stop);
        } else {
            (void)queue_.add_command(stop_word, command_stop);
        }
        queue_.channel().flush();
    }

    void iterate() {
        const auto limit = std::min<std::uint16_t>(policy_.in_flight, most_at_once);
        if (in_flight_ > limit / 2)
            return;
        const auto slots = static_cast<std::uint16_t>(std::max<std::uint16_t>(queue_.channel().free_slots(), 1) - 1);
        const std::size_t room = std::min<std::size_t>(static_cast<std::size_t>(limit - in_flight_), slots);
        std::array<Block, most_at_once> blocks;
        const std::size_t count = iterator_.isolate({blocks.data(), room});
        for (std::size_t i = 0; i < count; ++i) {
            (void)queue_.add_block(blocks[i]);
            hinted_ += pages_of(blocks[i].order);
            if (policy_.give_back == HintPolicy::Return::at_once)
                allocator_->put_back(blocks[i].first, Mark::as_it_was);
            else
                ++in_flight_;
        }
        queue_.channel().flush();
        if (count > 0 || room == 0 || in_flight_ > 0)
            return;
        if (iterator_.finished())
            end_round();
        else
            iterator_.skip_zone();
    }

    void hoard() {
        for (std::size_t i = 0; i < most_at_once; ++i) {
            if (policy_.in_flight == 1 && waits_for_ack_)
                return;
            const auto first = allocator_->allocate_spare(order_);
            if (!first)
                return end_round();
            if (!queue_.add_block({*first, order_})) {
                allocator_->free(*first);
                return;
            }
            queue_.channel().flush();
            hinted_ += pages_of(order_);
            waits_for_ack_ = true;
            if (policy_.in_flight > 1)
                hoard_.push(*first);
        }
    }

    void take_used() {
        while (const auto used = queue_.take_used()) {
            waits_for_ack_ = false;
            if (!used->block)
                continue;
            if (policy_.source == HintPolicy::Source::hoard) {
                if (policy_.in_flight == 1)
                    wanted_ == command_done ? void(allocator_->free(*used->block)) : hoard_.push(*used->block);
            } else if (policy_.give_back == HintPolicy::Return::when_used) {
                --in_flight_;
                allocator_->put_back(*used->block, Mark::as_it_was);
            }
        }
    }

    static constexpr CommandWord stop_word{1}; ///< Linux has a constant buffer for it

    BuddyAllocator* allocator_;
    HintQueue<Ring, T> queue_;
    HintPolicy policy_;
    Order order_;
    FreePageIterator iterator_;
    BlockStack hoard_;
    std::uint32_t wanted_ = command_stop;
    std::uint32_t current_ = command_stop; ///< of the newest round that began
    bool active_ = false;
    bool waits_for_ack_ = false;
    std::uint16_t in_flight_ = 0; ///< isolated blocks
    PageCount hinted_;
};

} // namespace aerate::guestkit
