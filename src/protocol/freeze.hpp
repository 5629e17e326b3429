// How a guest comes to rest and goes on: what stops, in which order, on whose claim, and the way back. Pure, as
// precopy.hpp.
//
//                claim                 every device rests            every vCPU rests
//     running ─────────▶ stopping_devices ────────▶ stopping_vcpus ────────▶ at_rest
//        ▲                       │                         │                    │
//        └────── the deadline passes, or the last claim is withdrawn ───────────┘ the last claim is released
//
// Devices finish what they have taken and take no more; then the vCPUs stop. In this order the guest goes on while a
// slow disk completes, and a disk that hangs costs it nothing: after the deadline the devices serve again, and the
// vCPUs never stopped. A vCPU that waits for a device's register is answered in each phase.
//
// Several may want the guest at rest at once. It comes to rest for the first and goes on after the last; each is told
// once that it rests, or why it does not.
//
// Each order to stop or to go has a number, and an answer carries that of the order it answers. What comes late, of an
// order that was taken back, is not counted.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace aerate::protocol {

struct OrderNumber {
    std::uint32_t value = 0;
    auto operator<=>(const OrderNumber&) const = default;
};

/// What may want the guest at rest.
enum class Claimant : std::uint8_t {
    pause,    ///< the operator
    sweep,    ///< for a batch
    copy,     ///< a snapshot, or the last round of a migration
    incoming, ///< the guest is its source's, and goes on at the source's word
    outgoing, ///< the guest was given to a destination that did not answer, and may run there
};
inline constexpr std::size_t claimants = 5;

class Claims {
public:
    constexpr Claims() = default;
    constexpr Claims(Claimant who) { add(who); } // NOLINT(google-explicit-constructor): a set of one
    constexpr void add(Claimant who) { bits_ = static_cast<std::uint8_t>(bits_ | bit(who)); }
    constexpr void remove(Claimant who) { bits_ = static_cast<std::uint8_t>(bits_ & ~bit(who)); }
    [[nodiscard]] constexpr bool has(Claimant who) const { return (bits_ & bit(who)) != 0; }
    [[nodiscard]] constexpr bool empty() const { return bits_ == 0; }
    [[nodiscard]] constexpr std::uint8_t bits() const { return bits_; }
    bool operator==(const Claims&) const = default;

private:
    static constexpr std::uint8_t bit(Claimant who) {
        return static_cast<std::uint8_t>(1U << static_cast<unsigned>(who));
    }
    std::uint8_t bits_ = 0;
};

/// Devices or vCPUs, by their index.
using Parts = std::bitset<64>;

struct FreezeEvent {
    enum class Kind : std::uint8_t {
        claim,        ///< `who` wants the guest at rest
        release,      ///< `who` no longer does, or gives up waiting
        give_away,    ///< the copy was given to a destination that did not answer
        device_rests, ///< device `part` holds no buffer of the guest's, and takes none
        vcpu_rests,   ///< vCPU `part` is out of the guest
        deadline,
        crashed, ///< a vCPU cannot go on
        ended,
    };
    Kind kind{};
    Claimant who{};
    OrderNumber order{}; ///< that device_rests, vcpu_rests and deadline belong to
    unsigned part = 0;
};

enum class Refusal : std::uint8_t { too_slow, withdrawn, crashed, ended };

struct FreezeEffect {
    enum class Kind : std::uint8_t {
        pause_devices, ///< all of them; these four are the order state.order
        pause_vcpus,
        resume_devices,
        resume_vcpus,
        start_deadline, ///< of the order state.order
        stop_deadline,
        grant,  ///< tell `who` that the guest rests
        refuse, ///< tell `who` that it does not, and why
    };
    Kind kind{};
    Claimant who{};
    Refusal why{};
    Parts devices{}; ///< too_slow: that did not come to rest
    Parts vcpus{};

    bool operator==(const FreezeEffect&) const = default;
};

/// In the order in which they are carried out: the guest first, then the answers.
class FreezeEffects {
public:
    void add(const FreezeEffect& effect) { items_.at(count_++) = effect; }
    [[nodiscard]] std::size_t size() const { return count_; }
    [[nodiscard]] const FreezeEffect* begin() const { return items_.data(); }
    [[nodiscard]] const FreezeEffect* end() const { return items_.data() + count_; }

private:
    std::array<FreezeEffect, claimants + 3> items_{};
    std::size_t count_ = 0;
};

struct Freeze {
    enum class Phase : std::uint8_t { running, stopping_devices, stopping_vcpus, at_rest, crashed, ended };

    Phase phase = Phase::running;
    OrderNumber order; ///< the last one that was given
    Claims claims;     ///< at rest: all of them were told so
    Parts moving;      ///< devices, then vCPUs, that have not come to rest by this order
    std::uint8_t devices = 0;
    std::uint8_t vcpus = 1;

    [[nodiscard]] bool coming_to_rest() const {
        return phase == Phase::stopping_devices || phase == Phase::stopping_vcpus;
    }
    /// Returns whether `who` was told that the guest rests, and has not released it.
    [[nodiscard]] bool holds(Claimant who) const { return !coming_to_rest() && claims.has(who); }

    bool operator==(const Freeze&) const = default;
};

namespace detail {

inline Parts all_of(unsigned count) {
    Parts parts;
    for (unsigned part = 0; part < count; ++part)
        parts.set(part);
    return parts;
}

inline void give_order(Freeze& state) {
    ++state.order.value;
}

inline void go_on(Freeze& state, FreezeEffects& effects) {
    using Effect = FreezeEffect::Kind;
    const auto before = std::exchange(state.phase, Freeze::Phase::running);
    give_order(state);
    state.moving.reset();
    if (before != Freeze::Phase::at_rest)
        effects.add({Effect::stop_deadline});
    effects.add({Effect::resume_devices});
    if (before != Freeze::Phase::stopping_devices)
        effects.add({Effect::resume_vcpus});
}

inline void tell_all(const Freeze& state, FreezeEffect effect, FreezeEffects& effects) {
    for (std::size_t index = 0; index < claimants; ++index) {
        effect.who = static_cast<Claimant>(index);
        if (state.claims.has(effect.who))
            effects.add(effect);
    }
}

/// Advances the freeze: once every device rests the vCPUs are next, and when they rest all claimants are told.
inline void advance(Freeze& state, FreezeEffects& effects) {
    using Phase = Freeze::Phase;
    using Effect = FreezeEffect::Kind;
    if (state.phase == Phase::stopping_devices && state.moving.none()) {
        state.phase = Phase::stopping_vcpus;
        state.moving = all_of(state.vcpus);
        effects.add({Effect::pause_vcpus});
    }
    if (state.phase == Phase::stopping_vcpus && state.moving.none()) {
        state.phase = Phase::at_rest;
        effects.add({Effect::stop_deadline});
        tell_all(state, {Effect::grant}, effects);
    }
}

inline void begin(Freeze& state, FreezeEffects& effects) {
    using Effect = FreezeEffect::Kind;
    give_order(state);
    state.phase = Freeze::Phase::stopping_devices;
    state.moving = all_of(state.devices);
    effects.add({Effect::start_deadline});
    effects.add({Effect::pause_devices});
    advance(state, effects);
}

inline void claim(Freeze& state, Claimant who, FreezeEffects& effects) {
    using Phase = Freeze::Phase;
    using Effect = FreezeEffect::Kind;
    switch (state.phase) {
    case Phase::running:
        state.claims.add(who);
        return begin(state, effects);
    case Phase::stopping_devices:
    case Phase::stopping_vcpus:
        return state.claims.add(who);
    case Phase::at_rest:
        state.claims.add(who);
        return effects.add({Effect::grant, who});
    case Phase::crashed:
        return effects.add({Effect::refuse, who, Refusal::crashed});
    case Phase::ended:
        return effects.add({Effect::refuse, who, Refusal::ended});
    }
}

inline void release(Freeze& state, Claimant who, FreezeEffects& effects) {
    if (!state.claims.has(who))
        return;
    state.claims.remove(who);
    const bool waited = state.coming_to_rest();
    if (state.claims.empty() && (waited || state.phase == Freeze::Phase::at_rest))
        go_on(state, effects);
    if (waited)
        effects.add({FreezeEffect::Kind::refuse, who, Refusal::withdrawn});
}

/// Lets the guest go on: a command that fails has no effect.
inline void undo(Freeze& state, FreezeEffects& effects) {
    const bool devices = state.phase == Freeze::Phase::stopping_devices;
    const Parts missing = state.moving;
    go_on(state, effects);
    tell_all(state,
             {.kind = FreezeEffect::Kind::refuse,
              .why = Refusal::too_slow,
              .devices = devices ? missing : Parts{},
              .vcpus = devices ? Parts{} : missing},
             effects);
    state.claims = {};
}

/// Ends the freeze. Undoes nothing: there is no guest left that could go on.
inline void stop_for_good(Freeze& state, Freeze::Phase phase, Refusal why, FreezeEffects& effects) {
    using Effect = FreezeEffect::Kind;
    const auto before = std::exchange(state.phase, phase);
    state.moving.reset();
    give_order(state);
    const bool waited = before == Freeze::Phase::stopping_devices || before == Freeze::Phase::stopping_vcpus;
    if (waited)
        effects.add({Effect::stop_deadline});
    if (phase == Freeze::Phase::crashed)
        effects.add({Effect::pause_vcpus});
    if (waited) {
        tell_all(state, {.kind = Effect::refuse, .why = why}, effects);
        state.claims = {};
    }
}

} // namespace detail

/// Returns no effects if the event does not belong here, or changed nothing that needs carrying out.
[[nodiscard]] inline FreezeEffects step(Freeze& state, const FreezeEvent& event) {
    using Event = FreezeEvent::Kind;
    using Phase = Freeze::Phase;
    FreezeEffects effects;
    const auto counts_in = [&](Phase phase) { return state.phase == phase && event.order == state.order; };

    switch (event.kind) {
    case Event::claim:
        detail::claim(state, event.who, effects);
        break;
    case Event::release:
        detail::release(state, event.who, effects);
        break;
    case Event::give_away:
        if (state.phase == Phase::at_rest && state.claims.has(Claimant::copy)) {
            state.claims.remove(Claimant::copy);
            state.claims.add(Claimant::outgoing);
        }
        break;
    case Event::device_rests:
    case Event::vcpu_rests:
        if (counts_in(event.kind == Event::device_rests ? Phase::stopping_devices : Phase::stopping_vcpus)) {
            state.moving.reset(event.part);
            detail::advance(state, effects);
        }
        break;
    case Event::deadline:
        if (counts_in(Phase::stopping_devices) || counts_in(Phase::stopping_vcpus))
            detail::undo(state, effects);
        break;
    case Event::crashed:
        if (state.phase != Phase::crashed && state.phase != Phase::ended)
            detail::stop_for_good(state, Phase::crashed, Refusal::crashed, effects);
        break;
    case Event::ended:
        if (state.phase != Phase::ended)
            detail::stop_for_good(state, Phase::ended, Refusal::ended, effects);
        break;
    }
    return effects;
}

} // namespace aerate::protocol
