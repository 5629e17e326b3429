// The rounds of a live migration, and the one round of a snapshot, as a pure transition function: events go in, what is
// to be done comes out. No thread, clock, KVM or socket; its driver does each effect to its end before it
// reports the event that follows.
//
//     start ─▶ gather ──────────▶ publish ─▶ copying: hints erase, pages are sent
//                ▲                                 │ next_round, finish
//                │                                 ▼
//                ├────────── hints closed ◀── close hints
//                └─ frozen ◀─ freeze ◀─┘ (when finishing)
//                │
//                └─▶ final: what is left is sent, without hints ─▶ hand over
//
// A round never waits for the guest: hints stop when the driver of this function says next_round or finish, whether or
// not the guest had more.
#pragma once

#include "protocol/page_layers.hpp"

#include <cstdint>
#include <optional>

namespace aerate::protocol {

struct PrecopyEvent {
    enum class Kind : std::uint8_t {
        start,      ///< `pending` holds what is to be copied at all, and every log is armed
        gathered,   ///< all logs are in layers.log, cleared and armed again
        published,  ///< the guest can see the command ID
        hinted,     ///< the device accepted this range under the current ID
        send,       ///< there is room for so many pages
        next_round, ///< what was written meanwhile is worth another round
        finish,     ///< what is left fits into the downtime
        closed,     ///< no further hint arrives
        frozen,     ///< no vCPU runs and no device writes
        cancel,     ///< or an error: the guest goes on here
    };
    Kind kind{};
    PageRange pages{}; ///< of hinted; the count alone of send

    bool operator==(const PrecopyEvent&) const = default;
};

struct PrecopyEffect {
    enum class Kind : std::uint8_t {
        gather,    ///< take KVM's log, the monitor's and the devices' buffers into layers.log
        publish,   ///< begin a hint round under a fresh command ID
        close,     ///< stop hinting: when it is done no hint is in flight
        freeze,    ///< stop devices and vCPUs
        send,      ///< read these pages now and send them
        drained,   ///< nothing is pending: next_round or finish
        hand_over, ///< the other side has everything
        run_on,    ///< release the guest and its hinted pages, stop logging
    };
    Kind kind{};
    PageRange pages{};

    bool operator==(const PrecopyEffect&) const = default;
};

/// What is copied while the guest runs.
enum class PrecopyPlan : std::uint8_t {
    migration, ///< rounds, while the guest runs; then what is left
    snapshot,  ///< nothing until the guest is frozen
};

template <PageSet Set>
struct Precopy {
    enum class Phase : std::uint8_t {
        idle,
        arming,
        publishing,
        copying,
        closing,
        freezing,
        collecting,
        final_copy,
        handed_over
    };

    PageLayers<Set> layers;
    PrecopyPlan plan = PrecopyPlan::migration;
    Phase phase = Phase::idle;
    bool finishing = false;

    bool operator==(const Precopy&) const = default;
};

/// Returns nothing if the event does not belong here, and changed nothing.
template <PageSet Set>
std::optional<PrecopyEffect> step(Precopy<Set>& state, const PrecopyEvent& event) {
    using Event = PrecopyEvent::Kind;
    using Effect = PrecopyEffect::Kind;
    using Phase = typename Precopy<Set>::Phase;

    const auto go = [&](Phase next, Effect effect) {
        state.phase = next;
        return PrecopyEffect{effect, {}};
    };
    const auto send = [&](Phase when_empty, Effect effect_when_empty) {
        const PageRange run = state.layers.take_pending(event.pages.count);
        if (run.count == PageCount{})
            return go(when_empty, effect_when_empty);
        return PrecopyEffect{Effect::send, run};
    };

    switch (event.kind) {
    case Event::start:
        if (state.phase == Phase::idle)
            return go(Phase::arming, Effect::gather);
        break;
    case Event::gathered:
        if (state.phase == Phase::arming) {
            state.layers.harvest();
            return go(Phase::publishing, Effect::publish);
        }
        if (state.phase == Phase::collecting) {
            state.layers.harvest();
            state.phase = Phase::final_copy;
        }
        break;
    case Event::published:
        if (state.phase == Phase::publishing)
            state.phase = Phase::copying;
        break;
    case Event::hinted:
        // Until it is closed: the guest goes on hinting while it is told to stop.
        if (state.phase == Phase::publishing || state.phase == Phase::copying || state.phase == Phase::closing)
            state.layers.hint(event.pages);
        break;
    case Event::send:
        if (state.phase == Phase::copying && state.plan == PrecopyPlan::migration)
            return send(Phase::copying, Effect::drained);
        if (state.phase == Phase::final_copy)
            return send(Phase::handed_over, Effect::hand_over);
        break;
    case Event::next_round:
    case Event::finish:
        if (state.phase == Phase::copying) {
            state.finishing = event.kind == Event::finish;
            return go(Phase::closing, Effect::close);
        }
        break;
    case Event::closed:
        if (state.phase == Phase::closing)
            return state.finishing ? go(Phase::freezing, Effect::freeze) : go(Phase::arming, Effect::gather);
        break;
    case Event::frozen:
        if (state.phase == Phase::freezing)
            return go(Phase::collecting, Effect::gather);
        break;
    case Event::cancel:
        if (state.phase != Phase::idle && state.phase != Phase::handed_over)
            return go(Phase::idle, Effect::run_on);
        break;
    }
    return std::nullopt;
}

} // namespace aerate::protocol
