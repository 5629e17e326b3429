#include "ours.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace aerate::sim {
namespace {

ByteCount bytes(double mib) {
    return {static_cast<std::uint64_t>(std::max(0.0, mib) * (1 << 20))};
}
double mib(ByteCount size) {
    return static_cast<double>(size.value) / (1 << 20);
}
policy::milliseconds time(double seconds) {
    return policy::milliseconds(std::llround(seconds * 1000));
}
policy::Permille permille(double part) {
    return {static_cast<std::uint64_t>(std::llround(part * 1000))};
}
/// Sorts as the numbers do.
policy::VmName name(std::size_t number) {
    return {fmt::format("vm{:04}", number)};
}

policy::Guest described(const Guest& guest, double now) {
    policy::Guest result{.size = bytes(guest.size),
                         .floor = bytes(guest.floor),
                         .shares = {static_cast<std::uint64_t>(guest.shares)},
                         .target = bytes(guest.target),
                         .actual = bytes(guest.balloon),
                         .resident = bytes(guest.resident()),
                         .unasked_deflations = guest.unasked_deflations,
                         .stalls = guest.stalls,
                         .reread = guest.said ? bytes(guest.suffered.read_again) : ByteCount{}};
    if (const auto& said = guest.said)
        result.said = policy::Statistics{.free = bytes(said->free),
                                         .available = bytes(said->available),
                                         .caches = bytes(said->cache),
                                         .age = time(now - said->at)};
    return result;
}

} // namespace

void Ours::check(const policy::Inputs& inputs, const policy::Decisions& decisions, policy::milliseconds elapsed) {
    const auto broken = policy::broken_invariant(state_, inputs, decisions, elapsed);
    if (!broken)
        return;
    if (broken_++ == 0)
        first_broken_ = fmt::format("{} at {} ms: {}", broken->vm.value, inputs.now.count(), broken->rule);
}

void Ours::look(World& world, double available) {
    policy::Inputs inputs{.now = time(world.now),
                          .host = {.total = bytes(world.total),
                                   .available = bytes(available),
                                   .reserve = policy::default_reserve(bytes(world.total)),
                                   .some = permille(world.pressure_some),
                                   .full = permille(world.pressure_full)}};
    for (std::size_t i = 0; i < world.guests.size(); ++i)
        inputs.guests.emplace(name(i), described(world.guests[i], world.now));
    const auto before = state_.looked.value_or(inputs.now - time(1));
    const policy::Decisions decisions = policy::step(state_, inputs);
    check(inputs, decisions, inputs.now - before);
    if (witness_)
        witness_(inputs, decisions);

    ++levels_.at(static_cast<std::size_t>(decisions.level));
    period_ = static_cast<double>(decisions.next_look.count()) / 1000;
    auto guest = world.guests.begin();
    for (const auto& [vm, decision] : decisions.guests) {
        ++reasons_[decision.reason];
        guest->target = mib(decision.target);
        guest->paused = decision.pause;
        ++guest;
    }
}

} // namespace aerate::sim
