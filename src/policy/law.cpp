#include "policy/law.hpp"

#include "policy/relief.hpp"
#include "policy/spare.hpp"

#include <vector>

namespace aerate::policy {
namespace {

constexpr milliseconds elapsed_max = std::chrono::minutes(1);
constexpr milliseconds first_elapsed = std::chrono::seconds(1);
constexpr milliseconds stuck_after = std::chrono::seconds(3);
constexpr milliseconds relief_pause = std::chrono::seconds(3);
constexpr milliseconds relief_rest = std::chrono::seconds(30);
constexpr milliseconds relief_time = std::chrono::seconds(2); ///< as much is given as is read again in this
constexpr ByteCount relief_min{64 * mib};

struct Tick {
    Host host;
    Level level;
    milliseconds now;
    milliseconds elapsed;
    ByteCount promised{}; ///< to guests in distress: others are to give it
};

struct Case {
    const Guest& guest;
    Memory& memory;
    Decision& decision;
    ByteCount hidden{};
    ByteCount offer{};
};

void give(Case& subject, ByteCount amount, Reason reason) {
    const ByteCount target = target_after_giving(subject.guest, amount);
    subject.decision = {.target = target, .reason = reason, .given = excess(subject.guest.actual, target)};
}

/// Returns whether a counter of the guest's has grown, and keeps it.
bool grew(std::optional<std::uint64_t>& before, std::uint64_t now) {
    const bool more = before && now > *before;
    before = now;
    return more;
}

void observe(Case& subject, const Tick& tick) {
    Memory& memory = subject.memory;
    const Guest& guest = subject.guest;
    memory.habits = observed(memory.habits, guest, tick.elapsed);
    memory.growth = observed(memory.growth, guest.resident, tick.elapsed);
    memory.hold.look(tick.now);
    const bool moving = guest.target > guest.actual + trifle && !memory.growth.paused_since;
    if (!moving || guest.actual >= memory.reached + ByteCount{mib} || guest.actual < memory.reached) {
        memory.reached = guest.actual;
        memory.progressed = tick.now;
    }
}

/// Before everything else, at every level: a guest that suffers from its balloon gets some of it back. Counted from
/// what the balloon has, never from a target that is pending.
bool relieve_distress(Case& subject, Tick& tick) {
    const Guest& guest = subject.guest;
    const bool took = grew(subject.memory.unasked_deflations, guest.unasked_deflations);
    const bool stalled = grew(subject.memory.stalls, guest.stalls);
    if (guest.actual == ByteCount{} && guest.target == ByteCount{})
        return false;
    const ByteCount kept = guard(subject.memory.habits, guest, tick.level);
    const Statistics* said = fresh(guest);
    const bool low_memory = said != nullptr && said->available.value < kept.value / 2;
    if (!took && !stalled && !low_memory)
        return false;
    give(subject, relief(guest, kept), took || stalled ? Reason::distress : Reason::below_guard);
    subject.memory.hold.fail(tick.now);
    tick.promised += subject.decision.given;
    return true;
}

/// A guest that has no more is not asked further: its allocator would be kept busy with each page that it frees.
bool stop_stuck(Case& subject, const Tick& tick) {
    if (since(subject.memory.progressed, tick.now) <= stuck_after)
        return false;
    subject.decision = {.target = rounded_down(std::min(subject.guest.actual, balloon_max(subject.guest))),
                        .reason = Reason::stuck};
    subject.memory.hold.fail(tick.now);
    return true;
}

bool relieve_cache(Case& subject, Tick& tick) {
    if (is_short(tick.level) || tick.now < subject.memory.relieved + relief_pause || fresh(subject.guest) == nullptr ||
        subject.guest.actual <= trifle || !misses_cache(subject.memory.habits, harmful_misses))
        return false;
    give(subject, std::max(relief_min, over(subject.memory.habits.rereading, relief_time)), Reason::missing_cache);
    subject.memory.hold.rest(tick.now, relief_rest);
    subject.memory.relieved = tick.now;
    tick.promised += subject.decision.given;
    return true;
}

/// Notes what the guest could give, or why it gives nothing.
void weigh(Case& subject, const Tick& tick) {
    const Guest& guest = subject.guest;
    Decision& decision = subject.decision;
    const Statistics* said = fresh(guest);
    if (said == nullptr) {
        decision.reason = guest.said ? Reason::stale : Reason::no_word;
    } else if (subject.memory.hold.held(tick.now)) {
        decision.reason = Reason::in_hold;
    } else {
        const Spare has = spare(guest, *said, subject.memory.habits, tick.level);
        subject.hidden = has.hidden;
        subject.offer = offered(has, tick.level);
        if (subject.offer < change_min) {
            subject.offer = {};
            decision.reason =
                has.idle + has.cold >= change_min && has.room < change_min ? Reason::at_floor : Reason::nothing_to_take;
        }
    }
}

void take(std::vector<Case>& cases, const Tick& tick) {
    std::vector<Offer> offers;
    offers.reserve(cases.size());
    for (const Case& subject : cases)
        offers.push_back({.amount = subject.offer, .shares = subject.guest.shares});
    const std::vector<ByteCount> takes = share_out(offers, wanted(tick.host, tick.level, tick.promised));
    for (std::size_t i = 0; i < cases.size(); ++i) {
        if (takes[i] == ByteCount{})
            continue;
        auto& [guest, memory, decision, hidden, offer] = cases[i];
        const bool idle = guest.said->free > takes[i] + hidden;
        decision = {.target = rounded_down(guest.actual + hidden + takes[i]),
                    .reason = idle ? Reason::idle_taken : Reason::cache_taken,
                    .taken = takes[i]};
        memory.hold.ask(tick.now);
    }
}

/// Lets all balloons down by the same part.
void give_back(std::vector<Case>& cases, const Tick& tick) {
    const ByteCount can = excess(returnable(tick.host, tick.elapsed), tick.promised);
    ByteCount all{};
    for (const Case& subject : cases)
        all += standing(subject.guest);
    for (auto& [guest, memory, decision, hidden, offer] : cases) {
        if (decision.reason != Reason::kept)
            continue;
        const ByteCount stands = standing(guest);
        const ByteCount amount = can < all ? scaled(stands, can.value, all.value) : stands;
        if (amount >= change_min || (amount > ByteCount{} && stands <= trifle)) {
            const ByteCount target = std::min(rounded_up(stands - amount), decision.target);
            decision = {.target = target, .reason = Reason::given_back, .given = excess(stands, target)};
        } else if (guest.target > guest.actual) {
            decision.target = std::min(rounded_up(guest.actual), decision.target);
            decision.reason = Reason::stopped;
        }
    }
}

void pause(std::vector<Case>& cases, const Tick& tick) {
    std::vector<Grower> growers;
    growers.reserve(cases.size());
    for (const Case& subject : cases)
        growers.push_back({.growth = subject.memory.growth,
                           .shares = subject.guest.shares,
                           .priority = subject.guest.priority,
                           .pausable = subject.guest.pausable});
    const std::vector<bool> stands = pauses(growers, tick.host, tick.now, tick.elapsed);
    for (std::size_t i = 0; i < cases.size(); ++i) {
        auto& paused_since = cases[i].memory.growth.paused_since;
        cases[i].decision.pause = stands[i];
        if (!stands[i])
            paused_since.reset();
        else if (!paused_since)
            paused_since = tick.now;
    }
}

/// Returns a case for each guest, remembers those that are new, and forgets those that are gone.
std::vector<Case> cases_of(State& state, const Inputs& inputs, Decisions& decisions) {
    std::erase_if(state.guests, [&](const auto& entry) { return !inputs.guests.contains(entry.first); });
    std::vector<Case> cases;
    cases.reserve(inputs.guests.size());
    for (const auto& [name, guest] : inputs.guests) {
        Decision& decision = decisions.guests[name];
        decision.target = std::min(guest.target, rounded_down(balloon_max(guest)));
        const auto [memory, is_new] = state.guests.try_emplace(name);
        if (is_new)
            memory->second.progressed = inputs.now;
        cases.push_back({.guest = guest, .memory = memory->second, .decision = decision});
    }
    return cases;
}

} // namespace

Decisions step(State& state, const Inputs& unchecked) {
    const Inputs inputs = bounded(unchecked);
    const Level level = level_of(inputs.host);
    const milliseconds elapsed = state.looked ? since(*state.looked, inputs.now) : first_elapsed;
    Tick tick{.host = inputs.host,
              .level = level,
              .now = inputs.now,
              .elapsed = std::clamp(elapsed, milliseconds{1}, elapsed_max)};
    state.looked = inputs.now;

    Decisions decisions{.level = level, .next_look = next_look(level)};
    std::vector<Case> cases = cases_of(state, inputs, decisions);
    for (Case& subject : cases) {
        observe(subject, tick);
        if (!relieve_distress(subject, tick) && !stop_stuck(subject, tick) && !relieve_cache(subject, tick) &&
            is_short(level))
            weigh(subject, tick);
    }
    if (level == Level::plenty)
        give_back(cases, tick);
    else if (is_short(level))
        take(cases, tick);
    pause(cases, tick);
    return decisions;
}

} // namespace aerate::policy
