#include "confine/rules.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace aerate::confine {
namespace {

void add(std::vector<CallRules>& all, const Rule& rule) {
    auto found = std::ranges::find(all, rule.call, &CallRules::number);
    if (found == all.end())
        found = all.insert(all.end(), {.number = rule.call});
    if (rule.refusal != 0) {
        found->refusal = rule.refusal;
    } else if (rule.check.mask == 0) {
        found->always = true;
        found->checks.clear();
    } else if (!found->always && std::ranges::find(found->checks, rule.check) == found->checks.end()) {
        found->checks.push_back(rule.check);
    }
}

void gather_into(std::vector<CallRules>& all, const ThreadKind& kind) {
    for (const auto& group : kind.calls)
        for (const Rule& rule : group)
            add(all, rule);
    for (const ThreadKind* const started : kind.starts)
        gather_into(all, *started);
}

std::string in_words(const Check& check) {
    if (check.own_process)
        return fmt::format("argument {} is its own process", check.argument);
    if (check.mask == 0xffffffff)
        return fmt::format("argument {} is {:#x}", check.argument, check.value);
    return fmt::format("argument {} & {:#x} is {:#x}", check.argument, check.mask, check.value);
}

std::string in_words(const CallRules& rules) {
    std::string text(name_of_call(rules.number));
    if (text.empty())
        text = fmt::format("system call {}", rules.number);
    std::vector<std::string> checks;
    checks.reserve(rules.checks.size());
    for (const Check& check : rules.checks)
        checks.push_back(in_words(check));
    std::ranges::sort(checks);
    if (!checks.empty())
        text += fmt::format(": {}", fmt::join(checks, ", or "));
    if (!rules.always && rules.refusal != 0)
        text += fmt::format("{} fails with error {}", checks.empty() ? ":" : "; else", rules.refusal);
    return text;
}

} // namespace

std::vector<CallRules> gather(const ThreadKind& kind) {
    std::vector<CallRules> all;
    gather_into(all, kind);
    return all;
}

Answer answer_to(const ThreadKind& kind, const Call& call) {
    const auto all = gather(kind);
    const auto found = std::ranges::find(all, call.number, &CallRules::number);
    if (found == all.end())
        return {};
    const auto holds = [&call](const Check& check) {
        const std::uint32_t value = check.own_process ? static_cast<std::uint32_t>(::getpid()) : check.value;
        return (call.arguments[check.argument] & check.mask) == value;
    };
    if (found->always || std::ranges::any_of(found->checks, holds))
        return {.verdict = Verdict::allowed};
    return found->refusal != 0 ? Answer{Verdict::refused_with_error, found->refusal} : Answer{};
}

std::string describe(const ThreadKind& kind) {
    std::vector<std::string> lines;
    for (const CallRules& rules : gather(kind))
        lines.push_back(in_words(rules));
    std::ranges::sort(lines);
    return fmt::format("{}\n  {}\n", kind.name, fmt::join(lines, "\n  "));
}

} // namespace aerate::confine
