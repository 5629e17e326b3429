#include "policy/admission.hpp"

#include "policy/spare.hpp"

#include <fmt/format.h>

namespace aerate::policy {
namespace {

std::uint64_t in_mib(ByteCount size) {
    return size.value / mib;
}

} // namespace

ByteCount freeable(const State& state, const Inputs& unchecked) {
    const Inputs inputs = bounded(unchecked);
    ByteCount all{};
    for (const auto& [name, guest] : inputs.guests) {
        const auto memory = state.guests.find(name);
        const Statistics* said = fresh(guest);
        if (said == nullptr || memory == state.guests.end() || memory->second.hold.held(inputs.now))
            continue;
        all += spare(guest, *said, memory->second.habits, Level::shortage).all();
    }
    return all;
}

Admission admit(const State& state, const Inputs& unchecked, const Candidate& asking, ByteCount reserved) {
    const Inputs inputs = bounded(unchecked);
    const Candidate candidate{.size = std::min(asking.size, memory_max),
                              .floor = std::min({asking.floor, asking.size, memory_max}),
                              .need = asking.need};
    reserved = std::min(reserved, memory_max);
    const Host& host = inputs.host;
    Admission result{.floors = candidate.floor,
                     .need = std::min(candidate.size, candidate.need.value_or(ByteCount{candidate.size.value / 2})),
                     .above = excess(excess(host.available, host.reserve), reserved),
                     .freeable = freeable(state, inputs)};
    for (const auto& [name, guest] : inputs.guests)
        result.floors = sum(result.floors, guest.floor);
    const ByteCount promised = sum(sum(result.floors, host.reserve), reserved);
    if (promised > host.total) {
        result.refused = Refusal::floors;
        result.missing = promised - host.total;
    } else if (result.need > result.above + result.freeable) {
        result.refused = Refusal::need;
        result.missing = result.need - result.above - result.freeable;
    }
    return result;
}

std::string words(const Admission& admission) {
    if (!admission.refused)
        return fmt::format(
            "it fits: {} MiB are needed, {} MiB are free above the reserve and {} MiB could be taken from guests",
            in_mib(admission.need), in_mib(admission.above), in_mib(admission.freeable));
    if (*admission.refused == Refusal::floors)
        return fmt::format(
            "the floors of all VMs are {} MiB together, {} MiB more than the host has beside its reserve: it would "
            "fit with a floor that is {} MiB lower",
            in_mib(admission.floors), in_mib(rounded_up(admission.missing)), in_mib(rounded_up(admission.missing)));
    return fmt::format(
        "it needs {} MiB; {} MiB are free above the reserve, and {} MiB could be taken from guests: it would fit if "
        "it needed {} MiB less, or if another VM of that need moved away",
        in_mib(admission.need), in_mib(admission.above), in_mib(admission.freeable),
        in_mib(rounded_up(admission.missing)));
}

} // namespace aerate::policy
