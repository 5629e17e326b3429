// Giving all free memory back at once: one hint round, whose blocks are discarded while every writer is held for a
// moment. Pure, as precopy.hpp.
//
//     start ─▶ gather ─▶ publish ─▶ collecting: hints ──(a batch is full, or the round is over)──▶ hold
//                                        ▲                                                          │
//                                        └── resumed ◀── resume ◀── discard ◀── gather ◀────────────┘
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
        discard, ///< what is in state.hinted
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
    Phase phase = Phase::idle;
    bool last_batch = false;

    bool operator==(const Sweep&) const = default;
};

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
            state.last_batch = true;
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
            return state.last_batch ? go(Phase::finished, Effect::finish) : go(Phase::resuming, Effect::resume);
        }
        break;
    case Event::resumed:
        if (state.phase == Phase::resuming)
            state.phase = Phase::collecting;
        break;
    }
    return std::nullopt;
}

} // namespace aerate::protocol
