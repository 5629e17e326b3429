#include "policy/invariants.hpp"

namespace aerate::policy {
namespace {

bool goes_up(const Guest& guest, const Decision& decision) {
    return decision.target > guest.actual && decision.target != guest.target;
}

std::optional<std::string_view> broken_by(const Guest& guest, const Memory& memory, const Decision& decision,
                                          Level level, milliseconds now) {
    if (decision.target > balloon_max(guest))
        return "I1: a target below the guest's floor";
    // A target that is pending may be lowered at any time.
    if (!goes_up(guest, decision) || decision.target < guest.target)
        return std::nullopt;
    const Statistics* said = fresh(guest);
    if (said == nullptr)
        return "I2: more is taken without fresh statistics";
    if (decision.target - guest.actual > excess(said->available, guard(memory.habits, guest, level)))
        return "I2: more is taken than the guest has to spare";
    if (level == Level::plenty)
        return "I3: more is taken in plenty";
    if (memory.hold.held(now))
        return "I3: more is taken while the guest is held";
    return std::nullopt;
}

bool lacks_memory(const Host& host, Level level) {
    return level == Level::critical || excess(host.available, host.reserve) < part(host.total, low);
}

} // namespace

std::optional<Broken> broken_invariant(const State& state, const Inputs& unchecked, const Decisions& decisions,
                                       milliseconds elapsed) {
    const Inputs inputs = bounded(unchecked);
    const Level level = level_of(inputs.host);
    ByteCount given{};
    bool asked = false;
    const VmName* without_reason = nullptr;
    for (const auto& [name, guest] : inputs.guests) {
        const Decision& decision = decisions.guests.at(name);
        if (const auto rule = broken_by(guest, state.guests.at(name), decision, level, inputs.now))
            return Broken{name, *rule};
        if (decision.reason == Reason::given_back) // what the floor asks for is not the surplus's
            given += excess(std::min({guest.target, guest.actual, balloon_max(guest)}), decision.target);
        asked = asked || decision.taken > ByteCount{};
        if (!excuses(decision.reason))
            without_reason = &name;
    }
    if (given > returnable(inputs.host, elapsed))
        return Broken{{}, "I4: more is given back than an eighth of the surplus a second"};
    if (lacks_memory(inputs.host, level) && !asked && without_reason != nullptr)
        return Broken{*without_reason, "I5: the host is short, and nobody is asked"};
    return std::nullopt;
}

} // namespace aerate::policy
