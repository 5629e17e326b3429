// Gives back what the guest has free and its host still holds, in two ways: large free blocks by a sweep, which the
// driver can hint; then the small ones, which nothing names (Linux hints free blocks of 4 MiB and reports those of 2).
// For these the balloon takes as much as is left of idle memory and lets go: a page at a time, Linux allocates from its
// smallest free blocks.
//
// Balloon loop.
#pragma once

#include "balloon/balloon.hpp"
#include "base/error.hpp"
#include "event/event_loop.hpp"
#include "reclaim/squeezer.hpp"
#include "reclaim/sweep_choice.hpp"
#include "reclaim/sweeper.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace aerate {

struct IdleMemoryReport {
    SweepReport sweep;         ///< all zero when there was none
    bool logged = false;       ///< what the guest wrote during the sweep had to be logged
    ByteCount small;           ///< went through the balloon
    ByteCount resident_before; ///< of the guest's memory; what it allocates meanwhile counts too
    ByteCount resident_after;
    std::chrono::microseconds duration{};
};

/// Returns what the host holds of a guest's memory and the guest does not use, by the guest's own word: one that lies
/// has less memory given back, or is asked for more, of its own. Nothing when the guest gives no such number.
[[nodiscard]] std::optional<ByteCount> idle_memory(const balloon::GuestStatistics&, const GuestMemory&,
                                                   const balloon::Balloon&);

class IdleMemory {
public:
    using Done = std::move_only_function<void(Result<IdleMemoryReport>)>;
    /// A hint round costs the guest time for all that is free, whether its host holds it or not.
    enum class Hints : std::uint8_t { always, if_much_is_idle };

    IdleMemory(EventLoop& loop, const GuestMemory& memory, balloon::Balloon& balloon, Sweeper& sweeper,
               Squeezer& squeezer)
        : loop_(loop)
        , memory_(memory)
        , balloon_(balloon)
        , sweeper_(sweeper)
        , squeezer_(squeezer) {}

    /// Fails through `done` when the guest does not take part in the sweep, or in anything.
    void give_back(Hints, Done done);
    /// Ends it, whatever it is doing, with the guest running and its balloon where it was: its `done` fails with `why`.
    void cancel(std::string_view why);
    [[nodiscard]] bool busy() const { return done_ != nullptr; }

private:
    using Clock = std::chrono::steady_clock;

    void sweep(Sweeper::Way);
    void wait_for_return(ByteCount free_before, Clock::time_point grown);
    void take_small_blocks();
    void end(Result<IdleMemoryReport>);
    /// Calls `then` with the guest's statistics, if this is still the same run.
    template <typename F>
    void ask(F then);

    EventLoop& loop_;
    const GuestMemory& memory_;
    balloon::Balloon& balloon_;
    Sweeper& sweeper_;
    Squeezer& squeezer_;
    SweepChoice choice_;
    // State of the one under way.
    std::uint64_t run_ = 0; ///< its number: an answer to an earlier one is dropped
    Done done_;
    IdleMemoryReport report_;
    Clock::time_point began_;
    Clock::time_point give_up_waiting_;
    bool sweep_again_ = false; ///< by log, once the driver has its blocks back
    bool squeezing_ = false;   ///< the squeeze that is under way is this one's
    Subscription timer_;
};

} // namespace aerate
