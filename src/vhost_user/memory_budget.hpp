// A bound on the guest-physical address space of all guests of a daemon together. A file with nothing in it may be of
// any size and costs its owner nothing, but us a few bits for each page up to the last.
//
// Any thread.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"

#include <atomic>
#include <cstdint>
#include <memory>

namespace aerate::vhost_user {

class MemoryBudget {
public:
    explicit MemoryBudget(ByteCount most)
        : most_(most) {}

    /// One guest's part. What it takes is given back when it goes.
    class Part {
    public:
        /// `budget`: nothing for a guest without a bound.
        explicit Part(std::shared_ptr<MemoryBudget> budget)
            : budget_(std::move(budget)) {}
        Part(const Part&) = delete;
        Part& operator=(const Part&) = delete;
        ~Part() { shrink_to({}); }

        [[nodiscard]] ByteCount size() const { return size_; }
        /// Fails, with nothing changed, when that is not left. A part that is larger already stays as it is.
        [[nodiscard]] Result<> grow_to(ByteCount);
        void shrink_to(ByteCount);

    private:
        std::shared_ptr<MemoryBudget> budget_;
        ByteCount size_;
    };

private:
    ByteCount most_;
    std::atomic<std::uint64_t> used_{0}; ///< bytes, never more than most_
};

} // namespace aerate::vhost_user
