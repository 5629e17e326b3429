// Which side runs the guest at the end of a migration: both sides as pure transition functions. There are never two
// running copies, whatever is cut, delayed or killed.
//
//     source            destination            lease (optional)
//     STATE + root ────▶
//                  ◀──── READY                 the root matches
//     record "given"                           from here the source does not resume by itself
//     GO ──────────────▶ claim ──────────────▶ the first claim wins
//                        run
//                  ◀──── ACK
//     destroy
//
// Until it has recorded "given" the source resumes on any trouble: the destination cannot run without GO. After it,
// only the side that claims the lease may run. Without a lease the source which has given and hears no more stays
// quiet, and an operator decides: neither side can know whether GO arrived (the two generals' limit). A destination
// that discards its copy says so, REFUSED, if it still can: it will never run, so then the source may.
#pragma once

#include <cstdint>
#include <optional>

namespace aerate::protocol {

struct HandOffSource {
    enum class Phase : std::uint8_t {
        copying,   ///< runs, or is frozen for the last round
        offered,   ///< STATE is sent
        recording, ///< "given" is on its way to the disk
        given,     ///< GO is sent
        claiming,
        resumed,   ///< runs here again
        destroyed, ///< the destination has it
        quiet,     ///< given, and no way to know
    };
    enum class Event : std::uint8_t { all_sent, ready, mismatch, recorded, ack, refused, trouble, won, lost };
    enum class Effect : std::uint8_t { send_state, record_given, send_go, claim, resume, destroy, ask_operator };

    Phase phase = Phase::copying;
    bool has_lease = false;
    bool operator==(const HandOffSource&) const = default;
};

struct HandOffDestination {
    enum class Phase : std::uint8_t {
        receiving,
        ready, ///< everything is here and matches; may not run
        claiming,
        running,
        discarded,
    };
    enum class Event : std::uint8_t { state, bad_state, go, trouble, won, lost };
    enum class Effect : std::uint8_t { send_ready, send_mismatch, claim, run_and_ack, discard };

    Phase phase = Phase::receiving;
    bool has_lease = false;
    bool operator==(const HandOffDestination&) const = default;
};

/// `trouble` is a cut, a time limit, a bad frame or a cancellation. Nothing: the event does not belong here, and
/// changed nothing.
inline std::optional<HandOffSource::Effect> step(HandOffSource& state, HandOffSource::Event event) {
    using Phase = HandOffSource::Phase;
    using Event = HandOffSource::Event;
    using Effect = HandOffSource::Effect;
    const auto go = [&](Phase next, Effect effect) {
        state.phase = next;
        return effect;
    };
    switch (state.phase) {
    case Phase::copying:
        if (event == Event::all_sent)
            return go(Phase::offered, Effect::send_state);
        if (event == Event::trouble || event == Event::refused)
            return go(Phase::resumed, Effect::resume);
        break;
    case Phase::offered:
        if (event == Event::ready)
            return go(Phase::recording, Effect::record_given);
        if (event == Event::mismatch || event == Event::trouble || event == Event::refused)
            return go(Phase::resumed, Effect::resume);
        break;
    case Phase::recording:
        if (event == Event::recorded)
            return go(Phase::given, Effect::send_go);
        if (event == Event::trouble || event == Event::refused)
            return go(Phase::resumed, Effect::resume);
        break;
    case Phase::given:
        if (event == Event::ack)
            return go(Phase::destroyed, Effect::destroy);
        // Whichever side has the lease: a destination that could not run what it had claimed says this too.
        if (event == Event::refused)
            return go(Phase::resumed, Effect::resume);
        if (event == Event::trouble)
            return state.has_lease ? go(Phase::claiming, Effect::claim) : go(Phase::quiet, Effect::ask_operator);
        break;
    case Phase::claiming:
        if (event == Event::won)
            return go(Phase::resumed, Effect::resume);
        if (event == Event::lost)
            return go(Phase::destroyed, Effect::destroy);
        break;
    case Phase::quiet:
        // An ACK that was late after all.
        if (event == Event::ack)
            return go(Phase::destroyed, Effect::destroy);
        break;
    case Phase::resumed:
    case Phase::destroyed:
        break;
    }
    return std::nullopt;
}

inline std::optional<HandOffDestination::Effect> step(HandOffDestination& state, HandOffDestination::Event event) {
    using Phase = HandOffDestination::Phase;
    using Event = HandOffDestination::Event;
    using Effect = HandOffDestination::Effect;
    const auto go = [&](Phase next, Effect effect) {
        state.phase = next;
        return effect;
    };
    switch (state.phase) {
    case Phase::receiving:
        if (event == Event::state)
            return go(Phase::ready, Effect::send_ready);
        if (event == Event::bad_state)
            return go(Phase::discarded, Effect::send_mismatch);
        if (event == Event::trouble)
            return go(Phase::discarded, Effect::discard);
        break;
    case Phase::ready:
        if (event == Event::go)
            return state.has_lease ? go(Phase::claiming, Effect::claim) : go(Phase::running, Effect::run_and_ack);
        if (event == Event::trouble)
            return go(Phase::discarded, Effect::discard);
        break;
    case Phase::claiming:
        if (event == Event::won)
            return go(Phase::running, Effect::run_and_ack);
        if (event == Event::lost)
            return go(Phase::discarded, Effect::discard);
        break;
    case Phase::running:
    case Phase::discarded:
        break;
    }
    return std::nullopt;
}

} // namespace aerate::protocol
