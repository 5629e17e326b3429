#include "host/guest_of.hpp"

#include <optional>
#include <string>

namespace aerate::hostd {
namespace {

using policy::Statistics;

std::optional<std::uint64_t> word(const Pulse& pulse, const char* name) {
    const auto found = pulse.statistics.find(name);
    return found == pulse.statistics.end() ? std::nullopt : std::optional(found->second);
}

/// A guest that does not say what it has available, as those before Linux 4.6, has at least what is free.
std::optional<Statistics> said_by(const Pulse& pulse, std::chrono::milliseconds ago) {
    const auto free = word(pulse, "free_memory");
    if (!free || !pulse.statistics_age)
        return std::nullopt;
    return Statistics{.free = {*free},
                      .available = {word(pulse, "available_memory").value_or(*free)},
                      .caches = {word(pulse, "disk_caches").value_or(0)},
                      .age = std::min(*pulse.statistics_age, std::chrono::milliseconds(std::chrono::hours(24))) + ago};
}

/// Each major fault reads a page at least. Those that read from swap are counted in both, which errs on the guest's
/// side.
ByteCount reread_by(const Pulse& pulse) {
    const ByteCount faults = policy::scaled({word(pulse, "major_faults").value_or(0)}, page_size.value, 1);
    return policy::sum(faults, {word(pulse, "swap_in").value_or(0)});
}

} // namespace

Wishes wishes_of(const Pulse& pulse, const PolicyChange& by_name, const PolicyChange& defaults) {
    constexpr control::MemoryPolicy nothing_said{};
    Wishes wishes{.floor = defaults.floor.value_or(ByteCount{pulse.size.value / 4}),
                  .shares = defaults.shares.value_or(nothing_said.shares),
                  .priority = defaults.priority.value_or(nothing_said.priority)};
    if (pulse.memory_policy)
        wishes = {.floor = pulse.memory_policy->floor.value_or(wishes.floor),
                  .shares = pulse.memory_policy->shares,
                  .priority = pulse.memory_policy->priority};
    return {.floor = std::min(by_name.floor.value_or(wishes.floor), pulse.size),
            .shares = by_name.shares.value_or(wishes.shares),
            .priority = by_name.priority.value_or(wishes.priority)};
}

policy::Guest guest_of(const Pulse& pulse, const Wishes& wishes, std::chrono::milliseconds ago, bool pausable) {
    return {.size = pulse.size,
            .floor = wishes.floor,
            .shares = {wishes.shares},
            .target = pulse.target,
            .actual = pulse.actual,
            .resident = pulse.resident.value_or(policy::excess(pulse.size, pulse.actual)),
            .said = said_by(pulse, ago),
            .unasked_deflations = pulse.unasked_deflations,
            .stalls =
                policy::sum({word(pulse, "alloc_stall").value_or(0)}, {word(pulse, "oom_kill").value_or(0)}).value,
            .reread = reread_by(pulse),
            .priority = wishes.priority,
            .pausable = pausable};
}

} // namespace aerate::hostd
