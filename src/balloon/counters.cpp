#include "balloon/counters.hpp"

#include <string>

namespace aerate::balloon {

std::vector<virtio::Metric> metrics_of(const Counters& counters) {
    std::vector<virtio::Metric> metrics{
        {"balloon_inflated_pages", "Pages that entered the balloon", counters.inflated.value},
        {"balloon_deflated_pages", "Pages that left the balloon", counters.deflated.value},
        {"balloon_reported_pages", "Pages reported free and given back", counters.reported.value},
        {"balloon_hinted_pages", "Pages hinted under a current command ID", counters.hinted.value},
        {"balloon_discarded_pages", "Pages given back to the host", counters.discarded.value},
        {"balloon_not_discarded_pages", "Pages that could not be given back", counters.not_discarded.value},
        {"balloon_discard_calls", "System calls that gave pages back", counters.discard_calls},
        {"balloon_discard_errors", "Discards that the host refused", counters.discard_errors},
        {"balloon_hint_rounds", "Rounds of free page hinting", counters.hint_rounds},
        {"balloon_hint_rounds_cut", "Rounds that the host had to end", counters.hint_rounds_cut},
        {"balloon_stale_hints", "Hints older than the command ID, dropped", counters.stale_hint_chains},
        {"balloon_unasked_deflations", "Times the guest took pages back unasked", counters.unasked_deflations},
        {"balloon_taken_back_pages", "Pages that the guest took back unasked", counters.taken_back.value},
    };
    for (std::size_t reason = 0; reason < skip_reasons; ++reason)
        if (counters.skipped[reason] != 0)
            metrics.push_back({"guest_balloon_skipped",
                               "Malformed parts of the guest's balloon requests",
                               counters.skipped[reason],
                               {{"reason", std::string(describe(static_cast<SkipReason>(reason)))}}});
    return metrics;
}

} // namespace aerate::balloon
