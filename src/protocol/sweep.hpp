// Giving all free memory back at once: one hint round, whose blocks are discarded while every writer is held for a
// moment. Pure, as precopy.hpp.
//
//     start ─▶ gather ─▶ publish ─▶ collecting: hints ──(a batch is full, or the round is over)──▶ gather ─▶ scan
//                                        ▲                                                                   │
//                                        └── resumed ◀── resume ◀── discard ◀── gather ◀── hold ◀────────────┘
//
// Held means: no vCPU runs and no device writes, so that nothing can come between the look at the log and the discard.
// A hinted block is discarded when
//   - it was not written since the ID: the guest said that it is free, and has not touched it since; or
//   - it read as zero after a gathering and was not written since: a discard then changes nothing. Linux with
//     init_on_alloc (Debian's default) clears each block after the ID, when it takes it to hint it, so that is the rule
//     there, not the exception.
// Or without a log, for guests that clear what they hint: what reads as zero *while the guest is held* is discarded,
// which changes nothing whoever has it, and the rest stays. Then no page need be write-protected, and a guest that
// clears 1 GiB has its huge pages and takes no fault for each 4 KiB of it.
//
//     start ─▶ publish ─▶ collecting ──▶ hold ─▶ scan ─▶ discard ─▶ resume
//
// `written` holds everything written since the ID, over all batches: a block that was written after the ID and hinted
// by a buffer that the host reads only in a later batch must stay.
//
// A batch has a limit, so that writers are held for a short time however many hints are there; the rest waits for the
// next. Hints count from the ID on, whatever the sweep is doing when they come: one that comes too late for this batch
// belongs to the next, and the sweep ends only when none is left.
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
        zero,       ///< these read as zero
        scanned,
        held, ///< no vCPU runs, no device writes
        discarded,
        resumed, ///< the guest runs again
        cancel,  ///< or an error: nothing more is discarded
    };
    Kind kind{};
    PageRange pages{};

    bool operator==(const SweepEvent&) const = default;
};

struct SweepEffect {
    enum class Kind : std::uint8_t {
        gather,
        publish,
        scan, ///< read what to_scan() says; with a log the guest runs meanwhile
        hold,
        discard, ///< what is in state.hinted now
        resume,
        finish, ///< resume if the guest is held, and let it take its pages back
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
        looking,
        scanning,
        holding,
        checking,
        discarding,
        resuming,
        finished
    };

    Set log;     ///< written since the last gathering
    Set written; ///< written since the ID, as far as gathered
    Set hinted;  ///< of this batch
    Set later;   ///< hinted, and in no batch so far
    Set zero;    ///< of this batch: read as zero since the last gathering
    PageCount limit{~0ULL};
    bool logs = true;   ///< off: no log is asked
    bool scans = false; ///< with a log; off: what was written since the ID stays, zero or not
    Phase phase = Phase::idle;
    bool round_over = false;

    bool operator==(const Sweep&) const = default;
};

namespace detail {

template <PageSet Set>
bool takes_hints(const Sweep<Set>& state) {
    using Phase = typename Sweep<Set>::Phase;
    return state.phase != Phase::idle && state.phase != Phase::arming && state.phase != Phase::finished;
}

template <PageSet Set>
bool nothing_left(const Sweep<Set>& state) {
    return state.round_over && state.later.next_run({0}, {1}).count == PageCount{};
}

/// Moves the first `limit` pages of state.later to state.hinted.
template <PageSet Set>
void choose_batch(Sweep<Set>& state) {
    FrameNumber at{0};
    for (PageCount room = state.limit; room > PageCount{};) {
        const PageRange run = state.later.next_run(at, room);
        if (run.count == PageCount{})
            return;
        state.later.clear(run);
        state.hinted.set(run);
        room -= run.count;
        at = run.end();
    }
}

/// Leaves of the batch what may be discarded.
template <PageSet Set>
void check(Sweep<Set>& state) {
    state.zero.remove(state.log);
    state.log.move_into(state.written);
    state.hinted.remove(state.written);
    state.zero.move_into(state.hinted);
}

} // namespace detail

/// Returns whether a page of the batch is to be read.
template <PageSet Set>
bool to_scan(const Sweep<Set>& state, FrameNumber frame) {
    return state.hinted.test(frame) && (!state.logs || state.written.test(frame));
}

/// Returns nothing if the event does not belong here, and changed nothing.
template <PageSet Set>
std::optional<SweepEffect> step(Sweep<Set>& state, const SweepEvent& event) {
    using Event = SweepEvent::Kind;
    using Effect = SweepEffect::Kind;
    using Phase = typename Sweep<Set>::Phase;

    const auto go = [&](Phase next, Effect effect) {
        state.phase = next;
        return SweepEffect{effect};
    };
    const auto begin_batch = [&] {
        if (detail::nothing_left(state))
            return go(Phase::finished, Effect::finish);
        detail::choose_batch(state);
        return state.logs && state.scans ? go(Phase::looking, Effect::gather) : go(Phase::holding, Effect::hold);
    };

    switch (event.kind) {
    case Event::start:
        if (state.phase == Phase::idle)
            return state.logs ? go(Phase::arming, Effect::gather) : go(Phase::publishing, Effect::publish);
        break;
    case Event::gathered:
        if (state.phase == Phase::arming) {
            // Older than the ID.
            state.log.clear_all();
            return go(Phase::publishing, Effect::publish);
        }
        if (state.phase == Phase::looking) {
            state.log.move_into(state.written);
            return go(Phase::scanning, Effect::scan);
        }
        if (state.phase == Phase::checking) {
            detail::check(state);
            return go(Phase::discarding, Effect::discard);
        }
        break;
    case Event::published:
        if (state.phase == Phase::publishing) {
            if (state.round_over)
                return begin_batch();
            state.phase = Phase::collecting;
        }
        break;
    case Event::hinted:
        if (detail::takes_hints(state))
            state.later.set(event.pages);
        break;
    case Event::batch:
        if (state.phase == Phase::collecting)
            return begin_batch();
        break;
    case Event::round_over:
        state.round_over = true;
        if (state.phase == Phase::collecting)
            return begin_batch();
        break;
    case Event::zero:
        if (state.phase == Phase::scanning)
            state.zero.set(event.pages);
        break;
    case Event::scanned:
        if (state.phase != Phase::scanning)
            break;
        if (state.logs)
            return go(Phase::holding, Effect::hold);
        state.hinted.clear_all();
        state.zero.move_into(state.hinted);
        return go(Phase::discarding, Effect::discard);
    case Event::held:
        if (state.phase == Phase::holding)
            return state.logs ? go(Phase::checking, Effect::gather) : go(Phase::scanning, Effect::scan);
        break;
    case Event::discarded:
        if (state.phase == Phase::discarding) {
            state.hinted.clear_all();
            return detail::nothing_left(state) ? go(Phase::finished, Effect::finish)
                                               : go(Phase::resuming, Effect::resume);
        }
        break;
    case Event::resumed:
        if (state.phase == Phase::resuming) {
            if (state.round_over)
                return begin_batch();
            state.phase = Phase::collecting;
        }
        break;
    case Event::cancel:
        if (state.phase != Phase::idle && state.phase != Phase::finished)
            return go(Phase::finished, Effect::finish);
        break;
    }
    return std::nullopt;
}

} // namespace aerate::protocol
