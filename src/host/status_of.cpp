#include "host/status_of.hpp"

#include "host/mib.hpp"
#include "policy/need.hpp"
#include "policy/spare.hpp"

#include <fmt/format.h>

namespace aerate::hostd {
namespace {

using policy::Guest;
using policy::Reason;
using std::chrono::milliseconds;

std::uint64_t seconds_of(milliseconds time) {
    return policy::count(time) / 1000;
}

/// Says what the host has above its reserve, in the form that the levels are defined in.
std::string above(const policy::Host& host) {
    const std::uint64_t permille =
        host.total.value == 0
            ? 0
            : policy::scaled(policy::excess(host.available, host.reserve), 1000, host.total.value).value;
    return host.available < host.reserve
               ? fmt::format("{} MiB below its reserve", mib_of(host.reserve - host.available))
               : fmt::format("{}.{} % above its reserve", permille / 10, permille % 10);
}

std::string details(const policy::Inputs& inputs, const policy::State& state, const Guest& guest,
                    const policy::VmName& name, const policy::Decision& decision) {
    const policy::Memory& memory = state.guests.at(name);
    switch (decision.reason) {
    case Reason::idle_taken:
    case Reason::cache_taken:
        return fmt::format("{} MiB; the host is {}", mib_of(decision.taken), above(inputs.host));
    case Reason::given_back:
    case Reason::distress:
    case Reason::below_guard:
    case Reason::missing_cache:
        return fmt::format("{} MiB", mib_of(decision.given));
    case Reason::in_hold:
        return fmt::format("for {} s more", seconds_of(policy::since(inputs.now, memory.hold.until())));
    case Reason::stale:
        return guest.said ? fmt::format("{} s", seconds_of(guest.said->age)) : "";
    case Reason::at_floor:
        return fmt::format("{} MiB", mib_of(guest.floor));
    case Reason::stuck:
        return fmt::format("it has given {} MiB", mib_of(guest.actual));
    case Reason::kept:
    case Reason::stopped:
    case Reason::no_word:
    case Reason::nothing_to_take:
        break;
    }
    return "";
}

} // namespace

control::HostReason reason_of(const policy::Inputs& inputs, const policy::State& state, const Guest& guest,
                              const policy::VmName& name, const policy::Decision& decision) {
    const policy::ReasonWords& reason = policy::explain(decision.reason);
    std::string words(reason.words);
    if (const std::string numbers = details(inputs, state, guest, name, decision); !numbers.empty())
        words += fmt::format(" ({})", numbers);
    if (decision.pause)
        words += fmt::format("; it stands still, for it grows faster than the host can bear: {} MiB a second",
                             state.guests.at(name).growth.rate.value >> 20);
    return {std::string(reason.name), std::move(words)};
}

control::HostVm vm_of(const policy::Inputs& inputs, const policy::State& state, const policy::VmName& name,
                      const policy::Decision& decision, policy::Level level, const VmView& view) {
    const Guest& guest = inputs.guests.at(name);
    const policy::Memory& memory = state.guests.at(name);
    control::HostVm vm{.name = name.value,
                       .pid = view.pid,
                       .state = view.state,
                       .answers = view.answers,
                       .size = guest.size,
                       .floor = guest.floor,
                       .shares = guest.shares.value,
                       .priority = guest.priority,
                       .resident = guest.resident,
                       .guard = policy::guard(memory.habits, guest, level),
                       .hot = memory.habits.hot,
                       .balloon = guest.actual,
                       .target = decision.target,
                       .reason = reason_of(inputs, state, guest, name, decision),
                       .stalled = view.stalled,
                       .taken = view.taken,
                       .given = view.given,
                       .cgroup = view.cgroup};
    if (guest.said) {
        // Not less than the guard: what the level leaves of it is no cache.
        const policy::Spare has = policy::spare(guest, *guest.said, memory.habits, policy::Level::shortage);
        vm.need = policy::need(guest, *guest.said);
        vm.cold = has.cold;
        vm.idle = has.idle;
        vm.hidden = has.hidden;
        vm.statistics_age = guest.said->age;
    }
    if (memory.hold.held(inputs.now))
        vm.held = memory.hold.until() - inputs.now;
    if (memory.growth.paused_since)
        vm.paused = policy::since(*memory.growth.paused_since, inputs.now);
    return vm;
}

Decision decision_of(const policy::Inputs& inputs, const policy::State& state, const policy::VmName& name,
                     const policy::Decision& decision, policy::Level level, milliseconds clock) {
    const Guest& guest = inputs.guests.at(name);
    Decision shown{.now = clock,
                   .level = level,
                   .host_available = inputs.host.available,
                   .resident = guest.resident,
                   .actual = guest.actual,
                   .target_before = guest.target,
                   .target = decision.target,
                   .taken = decision.taken,
                   .given = decision.given,
                   .paused = decision.pause,
                   .reason = reason_of(inputs, state, guest, name, decision)};
    if (guest.said) {
        shown.guest_free = guest.said->free;
        shown.guest_available = guest.said->available;
        shown.statistics_age = guest.said->age;
    }
    return shown;
}

void add_up(control::HostStatus& status) {
    for (const control::HostVm& vm : status.vms) {
        status.host.resident += vm.resident;
        status.host.promised += vm.size;
        status.host.floors += vm.floor;
        status.host.needs += vm.need;
    }
}

control::HostMemory host_of(const policy::Host& host, policy::Level level, const HostReading& reading) {
    control::HostMemory shown{.total = host.total,
                              .available = host.available,
                              .reserve = host.reserve,
                              .swap_total = reading.memory.swap_total,
                              .swap_free = reading.memory.swap_free,
                              .level = level,
                              .some = host.some.value,
                              .full = host.full.value};
    if (reading.pressure) {
        shown.some_total = reading.pressure->some;
        shown.full_total = reading.pressure->full;
    }
    return shown;
}

} // namespace aerate::hostd
