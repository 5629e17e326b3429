// A bound on the guest-physical address space of all guests of a daemon together, and one on each guest's, so that none
// of them takes it all; within it each user has a share, and each process one of its user's. A file with nothing in it
// may be of any size and costs its owner nothing, but us a few bits for each page up to the last.
//
// Any thread.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace aerate::vhost_user {

class MemoryBudget {
public:
    MemoryBudget(ByteCount most, ByteCount most_of_a_guest)
        : most_(most)
        , most_of_a_guest_(most_of_a_guest)
        , whose_("all guests together")
        , option_("--max-memory") {}
    /// A share of `whole`: what is taken of it is taken of the whole as well. For messages: whose it is, and the option
    /// that says how large.
    MemoryBudget(std::shared_ptr<MemoryBudget> whole, ByteCount most, std::string whose, std::string option)
        : most_(most)
        , most_of_a_guest_(whole->most_of_a_guest_)
        , whose_(std::move(whose))
        , option_(std::move(option))
        , whole_(std::move(whole)) {}

    [[nodiscard]] ByteCount most() const { return most_; }

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
    [[nodiscard]] Result<> take(ByteCount more);
    void give_back(ByteCount);

    ByteCount most_;
    ByteCount most_of_a_guest_;
    std::string whose_;
    std::string option_;
    std::shared_ptr<MemoryBudget> whole_; ///< null: this is it
    std::atomic<std::uint64_t> used_{0};  ///< bytes, never more than most_
};

} // namespace aerate::vhost_user
