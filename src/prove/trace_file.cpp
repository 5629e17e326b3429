#include "prove/trace_file.hpp"

#include "prove/fingerprint_table.hpp"
#include "prove/freeze_model.hpp"
#include "prove/hand_off_model.hpp"
#include "prove/hint_model.hpp"

#include <fmt/format.h>

#include <charconv>
#include <span>
#include <utility>

namespace aerate::prove {
namespace {

// In the order of HintAction, HandOffAction and FreezeAction.
constexpr std::string_view hint_actions[] = {
    "take",       "write",     "give",    "look",   "begin",     "mark",         "hint",   "end",          "release",
    "done",       "report",    "lend",    "land",   "complete",  "pop",          "scan",   "discard-page", "hint-late",
    "read-log",   "rearm-log", "publish", "send",   "hand-over", "next-round",   "finish", "close",        "batch",
    "round-over", "freeze",    "discard", "resume", "resumed",   "publish-done",
};
static_assert(std::size(hint_actions) == static_cast<std::size_t>(HintAction::publish_done) + 1);
constexpr std::string_view hand_off_actions[] = {
    "all-sent",         "source-acts",         "source-trouble",         "deliver-to-source", "source-dies",
    "destination-acts", "destination-trouble", "deliver-to-destination", "destination-dies",  "cut",
};
static_assert(std::size(hand_off_actions) == static_cast<std::size_t>(HandOffAction::cut) + 1);
constexpr std::string_view freeze_actions[] = {
    "claim",       "release",    "give-away",   "deadline",  "crash",  "end",      "device-hears", "device-answer",
    "device-late", "vcpu-hears", "vcpu-answer", "vcpu-late", "submit", "complete", "reset",        "drive",
};
static_assert(std::size(freeze_actions) == static_cast<std::size_t>(FreezeAction::drive) + 1);

std::span<const std::string_view> actions_of(std::string_view model) {
    if (model.starts_with("freeze/"))
        return freeze_actions;
    if (model.starts_with("hand-off/"))
        return hand_off_actions;
    return hint_actions;
}

Result<Action> parse_action(std::span<const std::string_view> names, std::string_view line, unsigned number) {
    const std::size_t space = line.find(' ');
    const std::string_view name = line.substr(0, space);
    for (std::size_t kind = 0; kind < names.size(); ++kind) {
        if (names[kind] != name)
            continue;
        Action action{static_cast<std::uint8_t>(kind), 0};
        if (space != line.npos) {
            const char* const end = line.data() + line.size();
            const auto [at, error] = std::from_chars(line.data() + space + 1, end, action.page);
            if (error != std::errc{} || at != end || action.page >= HintModel::max_pages)
                return fail("line {}: \"{}\" is not a page from 0 to {}", number, line.substr(space + 1),
                            HintModel::max_pages - 1);
        }
        return action;
    }
    return fail("line {}: no action is named \"{}\"", number, name);
}

} // namespace

std::string to_text(const TraceFile& file) {
    const auto names = actions_of(file.model);
    std::string text = fmt::format("model {}\n", file.model);
    for (const Action action : file.trace) {
        text += names[action.kind];
        const auto kind = static_cast<HintAction>(action.kind);
        const auto freeze_kind = static_cast<FreezeAction>(action.kind);
        const bool has_part = names.data() == freeze_actions &&
                              (freeze_kind < FreezeAction::give_away || freeze_kind > FreezeAction::end);
        const bool has_page =
            names.data() == hint_actions &&
            (kind <= HintAction::give || kind == HintAction::hint || kind == HintAction::release ||
             (kind >= HintAction::report && kind <= HintAction::complete) || kind == HintAction::scan ||
             kind == HintAction::send || kind == HintAction::batch || kind == HintAction::round_over ||
             kind == HintAction::resumed || kind == HintAction::discard_page || kind == HintAction::hint_late);
        text += has_page || has_part ? fmt::format(" {}\n", action.page) : "\n";
    }
    return text;
}

Result<TraceFile> parse_trace_file(std::string_view text) {
    constexpr std::string_view heading = "model ";
    TraceFile file;
    unsigned number = 0;
    while (!text.empty()) {
        ++number;
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.empty() || line.starts_with('#'))
            continue;
        if (file.model.empty()) {
            if (!line.starts_with(heading))
                return fail("line {}: a trace begins with \"model NAME\"", number);
            file.model = line.substr(heading.size());
            continue;
        }
        file.trace.push_back(TRY(parse_action(actions_of(file.model), line, number)));
    }
    if (file.model.empty())
        return fail("a trace begins with \"model NAME\"; this one is empty");
    return file;
}

std::uint64_t hash_of(Verdict verdict, std::uint64_t states, const Trace& trace) {
    Fingerprint hash;
    hash.mix(static_cast<std::uint64_t>(verdict));
    hash.mix(states);
    for (const Action action : trace)
        hash.mix(static_cast<std::uint64_t>(action.kind) << 8 | action.page);
    return hash.value();
}

} // namespace aerate::prove
