// Giving all free memory back at once: one hint round, whose blocks are discarded while every writer is held for a
// moment. Pure, as precopy.hpp.
//
//     start ─▶ gather ─▶ publish ─▶ collecting: hints ──(a batch is full, or the round is over)──▶ hold
//                                        ▲                                                          │
//                                        └── resumed ◀── resume ◀── discard ◀── gather ◀────────────┘
//
// A batch has a limit, so that writers are held for a short time however many hints are there; the rest waits for the
// next, which looks at the log again.
//
// Held means: no vCPU runs and no device writes, so that nothing can come between the look at the log and the discard.
// `written` holds everything written since the ID, over all batches: a block that was written after the ID and hinted
// by a buffer that the host reads only in a later batch must stay.
#pragma once

#include "protocol/page_set.hpp"

#include <cstdint>
#include <optional>

namespace aerate::protocol {

struct SweepEvent {
    enum class Kind : std::uint8_t {
        start,      ///< every log is armed
        gathered,   ///< all logs are in state.log, cleared and armed again
        published,  ///< the guest can see the command ID
        hinted,     ///< the device accepted this range under the current ID
        batch,      ///< enough is collected
        round_over, ///< the guest has no more, or its time is up
        held,       ///< no vCPU runs, no device writes, and no hint arrives
        discarded,
        resumed,
    };
    Kind kind{};
    PageRange pages{};

    bool operator==(const SweepEvent&) const = default;
};

struct SweepEffect {
    enum class Kind : std::uint8_t {
        gather,
        publish,
        hold,
        discard, ///< what is in state.hinted now
        resume,
        finish, ///< resume, and the guest takes its pages back
    };
    Kind kind{};

    bool operator==(const SweepEffect&) const = default;
};

template <PageSet Set>
struct Sweep {
    enum class Phase : std::uint8_t {
        idle,
        arming,
        publishing,
        collecting,
        holding,
        checking,
        discarding,
        resuming,
        finished
    };

    Set log;     ///< written since the last gathering
    Set written; ///< written since the ID, as far as gathered
    Set hinted;  ///< and not discarded yet
    Set later;   ///< hinted, for a later batch
    PageCount limit{~0ULL};
    Phase phase = Phase::idle;
    bool round_over = false;

    bool operator==(const Sweep&) const = default;
};

namespace detail {

template <PageSet Set>
bool is_empty(const Set& set) {
    return set.next_run({0}, {1}).count == PageCount{};
}

/// Leaves the first `limit` pages in state.hinted.
template <PageSet Set>
void put_off(Sweep<Set>& state) {
    FrameNumber at{0};
    for (PageCount room = state.limit; room > PageCount{};) {
        const PageRange run = state.hinted.next_run(at, room);
        if (run.count == PageCount{})
            return;
        room -= run.count;
        at = run.end();
    }
    constexpr PageCount any_length{~0ULL};
    for (PageRange run = state.hinted.next_run(at, any_length); run.count > PageCount{};
         run = state.hinted.next_run(at, any_length)) {
        state.hinted.clear(run);
        state.later.set(run);
        at = run.end();
    }
}

} // namespace detail

/// Nothing: the event does not belong here, and changed nothing.
template <PageSet Set>
std::optional<SweepEffect> step(Sweep<Set>& state, const SweepEvent& event) {
    using Event = SweepEvent::Kind;
    using Effect = SweepEffect::Kind;
    using Phase = typename Sweep<Set>::Phase;

    const auto go = [&](Phase next, Effect effect) {
        state.phase = next;
        return SweepEffect{effect};
    };

    switch (event.kind) {
    case Event::start:
        if (state.phase == Phase::idle)
            return go(Phase::arming, Effect::gather);
        break;
    case Event::gathered:
        if (state.phase == Phase::arming) {
            // Older than the ID.
            state.log.clear_all();
            return go(Phase::publishing, Effect::publish);
        }
        if (state.phase == Phase::checking) {
            state.log.move_into(state.written);
            state.hinted.remove(state.written);
            detail::put_off(state);
            return go(Phase::discarding, Effect::discard);
        }
        break;
    case Event::published:
        if (state.phase == Phase::publishing)
            state.phase = Phase::collecting;
        break;
    case Event::hinted:
        if (state.phase == Phase::publishing || state.phase == Phase::collecting || state.phase == Phase::holding)
            state.hinted.set(event.pages);
        break;
    case Event::batch:
        if (state.phase == Phase::collecting)
            return go(Phase::holding, Effect::hold);
        break;
    case Event::round_over:
        // While holding it comes in time for the batch at hand.
        if (state.phase == Phase::collecting || state.phase == Phase::holding)
            state.round_over = true;
        if (state.phase == Phase::collecting)
            return go(Phase::holding, Effect::hold);
        break;
    case Event::held:
        if (state.phase == Phase::holding)
            return go(Phase::checking, Effect::gather);
        break;
    case Event::discarded:
        if (state.phase == Phase::discarding) {
            state.hinted.clear_all();
            state.later.move_into(state.hinted);
            const bool all_done = state.round_over && detail::is_empty(state.hinted);
            return all_done ? go(Phase::finished, Effect::finish) : go(Phase::resuming, Effect::resume);
        }
        break;
    case Event::resumed:
        if (state.phase == Phase::resuming) {
            if (state.round_over)
                return go(Phase::holding, Effect::hold);
            state.phase = Phase::collecting;
        }
        break;
    }
    return std::nullopt;
}

} // namespace aerate::protocol
