#include "prove/report.hpp"

#include "prove/story.hpp"
#include "prove/trace_file.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace aerate::prove {
namespace {

std::string grouped(std::uint64_t number) {
    std::string digits = std::to_string(number);
    for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
        digits.insert(static_cast<std::size_t>(at), ",");
    return digits;
}

std::string verdict_of(const Finding& finding) {
    if (!finding.exploration.complete)
        return "not finished";
    return std::string(name_of(finding.exploration.verdict));
}

std::string size_of(const Entry& entry) {
    const auto* hints = std::get_if<HintSetting>(&entry.setting);
    return hints ? fmt::format("{}/{}/{}", hints->pages, hints->queue, hints->rounds) : "";
}

std::string trace_length(const Finding& finding) {
    return finding.exploration.trace.empty() ? "" : std::to_string(finding.exploration.trace.size());
}

struct Cell {
    Driver driver;
    std::string_view title;
};
constexpr Cell columns[] = {
    {Driver::linux_stock, "may release early (stock Linux)"},
    {Driver::hold_until_used, "holds until used"},
    {Driver::wait_on_ack, "waits for each buffer"},
};

std::string meaning_of(const HintSetting& setting) {
    switch (setting.use) {
    case Use::clear_pending:
        return "migration: clear the frozen set of this round";
    case Use::clear_live:
        return "migration: clear a bitmap that live writers also set";
    case Use::discard_at_once:
        return "discard at once";
    case Use::discard_checked:
        return "discard after a look at the log, vCPUs running";
    case Use::discard_held:
        return "discard with vCPUs and devices held (sweep)";
    case Use::discard_locked:
        return "discard under the lock of the write faults";
    case Use::skip_by_hint:
        return "leave out of a snapshot, by the hint alone";
    case Use::skip_unwritten:
        return "leave out of a snapshot, unless written since the ID";
    }
    return "";
}

const Finding* find(const std::vector<Finding>& findings, const HintSetting& like, Driver driver) {
    for (const Finding& finding : findings) {
        const auto* setting = std::get_if<HintSetting>(&finding.entry.setting);
        if (finding.entry.section == Section::uses && setting && setting->use == like.use && setting->log == like.log &&
            setting->driver == driver && setting->reports == like.reports && setting->clears == like.clears &&
            setting->by_content == like.by_content && setting->pages == like.pages)
            return &finding;
    }
    return nullptr;
}

std::string uses_table(const std::vector<Finding>& findings) {
    std::string page = "| use of a hint | log |";
    for (const Cell& column : columns)
        page += fmt::format(" {} |", column.title);
    page += "\n|---|---|---|---|---|\n";
    for (const Finding& finding : findings) {
        const auto* setting = std::get_if<HintSetting>(&finding.entry.setting);
        if (finding.entry.section != Section::uses || !setting || setting->driver != Driver::linux_stock)
            continue;
        page += fmt::format("| {}{} | {} |", meaning_of(*setting),
                            setting->by_content ? ", what reads as zero and nothing else"
                            : setting->clears   ? ", where zeroes count as free"
                            : setting->reports  ? ", with reports in between"
                            : setting->devices  ? ""
                                                : ", larger, without devices",
                            setting->by_content ? "none" : name_of(setting->log));
        for (const Cell& column : columns) {
            const Finding* cell = find(findings, *setting, column.driver);
            if (cell == nullptr)
                page += " |";
            else if (cell->exploration.verdict == Verdict::safe)
                page +=
                    fmt::format(" safe: {} states of {} |", grouped(cell->exploration.states), size_of(cell->entry));
            else
                page += fmt::format(" **{}** in {} steps |", verdict_of(*cell), cell->exploration.trace.size());
        }
        page += "\n";
    }
    return page;
}

std::string section_table(const std::vector<Finding>& findings, Section section) {
    std::string page = "| model | verdict | states | steps |\n|---|---|---|---|\n";
    for (const Finding& finding : findings)
        if (finding.entry.section == section)
            page += fmt::format("| `{}` | {} | {} | {} |\n", finding.entry.name, verdict_of(finding),
                                grouped(finding.exploration.states), trace_length(finding));
    return page;
}

} // namespace

std::string table_heading() {
    return fmt::format("{:<44} {:<20} {:>8} {:>12} {:>8} {:>6} {:>10}\n", "model", "verdict", "size", "states",
                       "seconds", "steps", "omission");
}

std::string table_row(const Finding& finding) {
    const Exploration& found = finding.exploration;
    return fmt::format("{:<44} {:<20} {:>8} {:>12} {:>8.2f} {:>6} {:>10.1e}{}\n", finding.entry.name,
                       verdict_of(finding), size_of(finding.entry), grouped(found.states), finding.seconds,
                       trace_length(finding), found.omission_probability,
                       is_expected(finding) ? (finding.entry.ships ? "  ships" : "")
                                            : fmt::format("  EXPECTED: {}", name_of(finding.entry.expected)));
}

std::string json_line(const Finding& finding) {
    const Exploration& found = finding.exploration;
    nlohmann::ordered_json line;
    line["model"] = finding.entry.name;
    if (const auto* hints = std::get_if<HintSetting>(&finding.entry.setting)) {
        line["driver"] = name_of(hints->driver);
        line["log"] = name_of(hints->log);
        line["use"] = name_of(hints->use);
        line["fault"] = name_of(hints->fault);
        line["pages"] = hints->pages;
        line["queue"] = hints->queue;
        line["rounds"] = hints->rounds;
    } else {
        line["driver"] = line["log"] = nullptr;
        line["use"] = finding.entry.section == Section::freeze ? "freeze" : "hand-off";
    }
    line["verdict"] = verdict_of(finding);
    line["expected"] = name_of(finding.entry.expected);
    line["states"] = found.states;
    line["transitions"] = found.transitions;
    line["seconds"] = finding.seconds;
    line["trace_length"] = found.trace.size();
    line["omission_probability"] = found.omission_probability;
    line["hash"] = fmt::format("{:016x}", hash_of(found.verdict, found.states, found.trace));
    return line.dump();
}

std::string proof_page(const std::vector<Finding>& findings) {
    std::string page = R"(# What the explorer found

Generated by `aerate prove --page`; a test compares. Every interleaving of a guest, its hint queue, the device, KVM's log, devices that
write to guest memory, and the code of `src/protocol` that ships, with a few pages of each. A size is pages/queue/rounds. How the
models are made, what they leave out and what that means: [prove.md](prove.md).

## Uses of a hint

)";
    page += uses_table(findings);
    page += "\n## Planted bugs\n\nEach has to be found, and is.\n\n" + section_table(findings, Section::planted);
    page += "\n## The migration's hand-off\n\n`lease` and `no-lease` ship. Without a lease there is one quiet state, "
            "in which an operator has to decide.\n\n" +
            section_table(findings, Section::hand_off);
    page +=
        "\n## The freeze\n\nTwo devices that the guest resets as it likes, two vCPUs, three claims of pauses, sweeps "
        "and copies, each taken back at any time. The first four ship; the others are planted.\n\n" +
        section_table(findings, Section::freeze);
    page += "\n## The shortest traces\n";
    for (const Finding& finding : findings) {
        if (finding.exploration.verdict == Verdict::safe)
            continue;
        if (const auto story = tell(finding.entry, finding.exploration.trace))
            page += fmt::format("\n### {}\n\n```\n{}```\n", finding.entry.name, in_words(*story));
    }
    return page;
}

} // namespace aerate::prove
