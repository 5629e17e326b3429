// Which chains the device holds, and, with IN_ORDER (virtio 1.2, 2.7.9 and 2.8.8), the completions that wait for
// earlier ones.
#pragma once

#include "base/check.hpp"
#include "virtio/virtqueue.hpp"

#include <cstdint>
#include <vector>

namespace aerate::virtio {

class CompletionOrder {
public:
    CompletionOrder(std::uint16_t ring_size, bool in_order)
        : chains_(ring_size)
        , popped_(in_order ? ring_size : 0)
        , in_order_(in_order) {}

    [[nodiscard]] std::uint16_t in_flight() const { return in_flight_; }
    [[nodiscard]] bool holds(std::uint16_t id) const { return chains_[id].held; }

    /// REQUIRES: id is below the ring's size and not held.
    void take(std::uint16_t id, std::uint16_t descriptors) {
        chains_[id] = {.descriptors = descriptors, .held = true};
        if (in_order_)
            popped_[last_++ % popped_.size()] = id;
        ++in_flight_;
    }

    /// Undoes the last take(), and returns how many descriptors that were.
    /// REQUIRES: held, and not completed; in order, that it is the last one taken.
    std::uint16_t give_back(std::uint16_t id) {
        CHECK(id < chains_.size() && chains_[id].held && !chains_[id].completed);
        if (in_order_) {
            CHECK(popped_[(last_ - 1) % popped_.size()] == id);
            --last_;
        }
        chains_[id].held = false;
        --in_flight_;
        return chains_[id].descriptors;
    }

    /// Calls used(id, written, descriptors) for each chain that may be used now: this one, or, in order, none or many.
    /// REQUIRES: held, and not completed yet.
    template <typename F>
    void complete(std::uint16_t id, std::uint32_t written, F used) {
        CHECK(id < chains_.size() && chains_[id].held && !chains_[id].completed);
        chains_[id].completed = true;
        chains_[id].written = written;
        if (!in_order_)
            return release(id, used);
        while (first_ != last_ && chains_[popped_[first_ % popped_.size()]].completed)
            release(popped_[first_++ % popped_.size()], used);
    }

private:
    struct Chain {
        std::uint32_t written{};
        std::uint16_t descriptors{};
        bool held = false;
        bool completed = false;
    };

    template <typename F>
    void release(std::uint16_t id, F& used) {
        const Chain chain = chains_[id];
        chains_[id].held = false;
        --in_flight_;
        used(id, chain.written, chain.descriptors);
    }

    std::vector<Chain> chains_;         ///< by head (split) or buffer ID (packed)
    std::vector<std::uint16_t> popped_; ///< in order only: those held, oldest at first_
    std::uint64_t first_ = 0;
    std::uint64_t last_ = 0;
    std::uint16_t in_flight_ = 0;
    bool in_order_;
};

} // namespace aerate::virtio
