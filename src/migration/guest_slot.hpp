// The one slot for a guest at a process that receives guests: the first candidate that claims it has it while it makes
// progress. One that does not is evicted for the next.
//
//     TRY(slot.claim(candidate));      // on the candidate's thread, once it has shown a guest
//     ...
//     slot.leave(candidate);           // when that has come to an end
#pragma once

#include "base/error.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace aerate::migration {

class GuestSlot {
public:
    class Candidate {
    public:
        virtual ~Candidate() = default;
        /// Returns for how long it has made no progress. Any thread.
        [[nodiscard]] virtual std::chrono::milliseconds idle() const = 0;
        /// Tells it to end, and to leave(). Any thread; must not wait.
        virtual void evict() = 0;
    };

    /// `patience`: how long a holder may make no progress. `eviction_limit`: how long the next waits until it has left.
    GuestSlot(std::chrono::milliseconds patience, std::chrono::milliseconds eviction_limit)
        : patience_(patience)
        , eviction_limit_(eviction_limit) {}

    /// Fails while another has the slot and makes progress, and after close().
    [[nodiscard]] Result<> claim(Candidate&);
    /// Returns whether the slot was this candidate's.
    bool leave(const Candidate&);
    /// Calls evict() unless it has the slot.
    void reject(Candidate&);
    [[nodiscard]] bool is_holder(const Candidate&) const;
    [[nodiscard]] bool taken() const;
    /// Keeps the slot taken while something of the last guest is left: candidates that claim it wait.
    void set_busy(bool busy);
    /// Admits no further candidate. Returns the one that has the slot, if any.
    Candidate* close();
    [[nodiscard]] bool closed() const;

private:
    const std::chrono::milliseconds patience_;
    const std::chrono::milliseconds eviction_limit_;
    mutable std::mutex mutex_; ///< for what follows
    std::condition_variable changed_;
    Candidate* holder_ = nullptr;
    bool leaving_ = false; ///< the holder was told to
    bool busy_ = false;
    bool closed_ = false;
};

} // namespace aerate::migration
