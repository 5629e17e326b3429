// A bound on the guest-physical address space of all guests of a daemon together, and one on each guest's, so that none
// of them takes it all. A file with nothing in it may be of any size and costs its owner nothing, but us a few bits for
// each page up to the last.
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
    MemoryBudget(ByteCount most, ByteCount most_of_a_guest)
        : most_(most)
        , most_of_a_guest_(most_of_a_guest) {}

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
        /// Fails, with nothing changed, when no guest may have that much, or it is not left. A part that is larger
        /// already stays as it is.
        [[nodiscard]] Result<> grow_to(ByteCount);
        void shrink_to(ByteCount);

    private:
        std::shared_ptr<MemoryBudget> budget_;
        ByteCount size_;
    };

private:
    ByteCount most_;
    ByteCount most_of_a_guest_;
    std::atomic<std::uint64_t> used_{0}; ///< bytes, never more than most_
};

} // namespace aerate::vhost_user
