// The hints of a copy that is being made of a guest, a snapshot or a migration: asks for a round, waits for as long as
// hints spare more than the wait costs, and hands them over.
//
//     balloon's thread ──▶ HintInbox ──(patience ends, the round is over, take(), close())──▶ use()
//
// The copying thread.
#pragma once

#include "event/event_loop.hpp"
#include "migration/convergence.hpp"
#include "migration/guest.hpp"
#include "migration/hint_inbox.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <utility>

namespace aerate::migration {

class CopyHints {
public:
    using Duration = std::chrono::steady_clock::duration;
    struct User {
        /// Uses a hint; returns how long it would take to copy what it spares.
        std::function<Duration(PageRange)> use;
        /// The wait is over: once for each that was begun, unless it was given up.
        std::function<void()> waited;
    };

    /// Waits for so long for the first hint, and then from each to the next at least. REQUIRES: the guest outlives it,
    /// and no hint comes once it is gone: every round was closed.
    CopyHints(EventLoop& loop, SourceGuest& guest, Duration first, Duration next, User user)
        : loop_(loop)
        , guest_(guest)
        , first_(first)
        , next_(next)
        , user_(std::move(user)) {}

    /// Asks the guest; `published` hears on this thread whether it takes part. A copy goes without hints when the host
    /// refuses the memory that they take. REQUIRES: the round before was closed.
    void ask(std::move_only_function<void(bool)> published);
    /// Waits: hints that come now are handed over until then, or when take() is called.
    void wait();
    /// Gives the wait up. Hints still count.
    void stop_waiting();
    [[nodiscard]] bool waiting() const { return waiting_; }
    /// Returns whether the hints that were handed over last spared anything.
    [[nodiscard]] bool spare() const { return spare_; }
    /// Hands over what has come.
    void take();
    /// Ends the round: when `closed` is called, on this thread, every hint that was accepted has been handed over.
    void close(std::move_only_function<void()> closed);

private:
    using Clock = std::chrono::steady_clock;

    void look();
    void end_wait();

    EventLoop& loop_;
    SourceGuest& guest_;
    Duration first_;
    Duration next_;
    User user_;
    std::unique_ptr<HintInbox> inbox_; ///< null before the guest is asked, and when the host refuses memory for it
    HintPatience patience_;
    bool waiting_ = false;
    bool spare_ = false;
    unsigned round_ = 0;
    Subscription alarm_;
};

} // namespace aerate::migration
