#include "report.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace aerate::sim {
namespace {

constexpr double gib = 1024;

} // namespace

std::string heading() {
    return fmt::format("{:<8}{:>5} {:<8}{:>6}{:>6}{:>8}{:>9}{:>10}{:>11}{:>11}{:>9}{:>9}{:>10}{:>9}{:>9}{:>7}", "mix",
                       "seed", "law", "GiB", "%", "refused", "host OOM", "guest OOM", "stall s", "swap s", "reread",
                       "p99 s", "turns/g/h", "paused s", "longest", "broken");
}

std::string line(const Row& row) {
    const Outcome& out = row.outcome;
    return fmt::format(
        "{:<8}{:>5} "
        "{:<8}{:>6.0f}{:>6.1f}{:>8}{:>9}{:>10}{:>11.0f}{:>11.0f}{:>9.0f}{:>9.1f}{:>10.1f}{:>9.0f}{:>9.1f}{:>7}",
        row.mix, row.seed, row.law, row.host / gib, 100 * row.host / row.promised, row.refused, out.host_ooms,
        out.guest_ooms, out.stalled, out.host_stalled, out.read_again / gib, out.wait_p99, out.reversals, out.paused,
        out.longest_pause, row.broken);
}

std::string json(const Row& row) {
    const Outcome& out = row.outcome;
    return nlohmann::json{{"mix", row.mix},
                          {"seed", row.seed},
                          {"law", row.law},
                          {"host_mib", row.host},
                          {"promised_mib", row.promised},
                          {"guests", row.guests},
                          {"refused", row.refused},
                          {"resident_peak_mib", out.resident_peak},
                          {"resident_mean_mib", out.resident_mean},
                          {"host_ooms", out.host_ooms},
                          {"guest_ooms", out.guest_ooms},
                          {"stalled_s", out.stalled},
                          {"host_stalled_s", out.host_stalled},
                          {"read_again_mib", out.read_again},
                          {"ballooned_mib", out.moved},
                          {"wait_p99_s", out.wait_p99},
                          {"reversals_per_guest_hour", out.reversals},
                          {"paused_s", out.paused},
                          {"longest_pause_s", out.longest_pause},
                          {"broken_invariants", row.broken}}
        .dump();
}

std::string missed(const Row& row) {
    const Outcome& out = row.outcome;
    std::string what;
    const auto note = [&](bool wrong, std::string_view text) {
        if (wrong)
            what += fmt::format("{}{}", what.empty() ? "" : ", ", text);
    };
    if (row.law != "aerate")
        return what;
    note(row.broken > 0, "an invariant is broken");
    note(out.guest_ooms > 0, "guests ran out of memory by their balloons");
    note(out.host_ooms > 0 && row.mix != "hostile", "the host ran out of memory");
    note(out.wait_p99 >= 1, "one in a hundred waits for a second or longer");
    note(out.reversals >= 15, "balloons turn 15 times an hour or more");
    return what;
}

} // namespace aerate::sim
