#include "programs/command_line.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <string_view>
#include <utility>

namespace aerate {
namespace {

constexpr std::size_t columns = 80;
constexpr std::size_t text_column = 28;

/// Appends the line, broken at spaces. What continues a description stays in its column.
void append_wrapped(std::string& out, std::string_view line) {
    const bool describes =
        line.size() > text_column && line.starts_with("  ") && line[text_column - 1] == ' ' && line[text_column] != ' ';
    const std::size_t indent = describes ? text_column : 0;
    std::size_t used = 0; // of the line that is being written
    while (line.size() + used > columns) {
        const auto space = line.rfind(' ', columns - used);
        if (space == line.npos || space + used <= indent)
            break;
        out.append(line.substr(0, space)).append("\n").append(indent, ' ');
        line.remove_prefix(space + 1);
        used = indent;
    }
    out.append(line).append("\n");
}

/// Splits "UINT:UINT in [1 - 16]" into "UINT" and "UINT in [1 - 16]", the description of its check.
std::pair<std::string, std::string> type_and_check(const CLI::Option& option) {
    const std::string full = option.get_type_name();
    const auto colon = full.find(':');
    if (colon == full.npos)
        return {full, ""};
    return {full.substr(0, colon), full.substr(colon + 1)};
}

std::string_view between(std::string_view text, std::string_view before, std::string_view after) {
    const auto begin = text.find(before);
    if (begin == text.npos)
        return {};
    text.remove_prefix(begin + before.size());
    return text.substr(0, text.find(after));
}

struct GivenCommand {
    const CLI::App* app;
    std::string words; ///< "hint start"; empty for aerate itself
};

GivenCommand given_command(const CLI::App& app) {
    GivenCommand given{&app, {}};
    for (auto next = app.get_subcommands(); !next.empty(); next = given.app->get_subcommands()) {
        given.app = next.front();
        given.words += (given.words.empty() ? "" : " ") + given.app->get_name();
    }
    return given;
}

std::string usage_of(const GivenCommand& given) {
    const std::string name = given.words.empty() ? "aerate" : "aerate " + given.words;
    const std::string text = HelpFormatter().make_usage(given.app, name);
    std::string_view line(text);
    line.remove_prefix(std::min(line.find("aerate"), line.size()));
    return fmt::format("usage: {}", line.substr(0, line.find('\n')));
}

std::string unexpected(const GivenCommand& given, const std::string& word) {
    const bool option = word.starts_with('-');
    return fmt::format("{}: {}; {}", option ? "no such option" : "unexpected argument", word, usage_of(given));
}

std::string missing_command(const GivenCommand& given) {
    const std::string help = given.words.empty() ? "help" : given.words + " --help";
    // A word that is no command was taken for an argument.
    if (const auto unknown = given.app->remaining(); !unknown.empty())
        return unknown.front().starts_with('-')
                   ? unexpected(given, unknown.front())
                   : fmt::format("no such command: {}; \"aerate {}\" lists them", unknown.front(), help);
    return fmt::format("a command is missing; \"aerate {}\" lists them", help);
}

std::string missing(const GivenCommand& given, std::string_view what) {
    if (what.find("ubcommand") != what.npos)
        return missing_command(given);
    return fmt::format("{} is missing; {}", what.substr(0, what.find(" is required")), usage_of(given));
}

std::string refused(std::string_view what) {
    const auto name = what.substr(0, what.find(": "));
    if (const auto value = between(what, ": Value ", " not in range "); !value.empty()) {
        // "--vcpus: Value x not in range 1 to 3": what is no number is not in it either.
        return fmt::format("{}: {} is not a number from {}", name, value, between(what, " not in range ", "\n"));
    }
    if (const auto option = between(what, "Could not convert: ", " = "); !option.empty())
        return fmt::format("{}: {} is not a number", option, between(what, " = ", "\n"));
    if (const auto words = between(what, " not in {", "}"); !words.empty())
        return fmt::format("{}: {} is not one of {}", name, between(what, ": ", " not in {"), words);
    if (what.ends_with(" missing"))
        return fmt::format("{}: a value is missing", name);
    return std::string(what);
}

} // namespace

HelpFormatter::HelpFormatter() {
    column_width(text_column);
}

std::string HelpFormatter::make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const {
    std::istringstream lines(CLI::Formatter::make_help(app, std::move(name), mode));
    std::string wrapped;
    for (std::string line; std::getline(lines, line);)
        if (!line.empty() || !wrapped.ends_with("\n\n"))
            append_wrapped(wrapped, line);
    return wrapped;
}

/// CLI11 prints "--no-start{false}" for a flag that switches something off.
std::string HelpFormatter::make_option_name(const CLI::Option* option, bool positional) const {
    constexpr std::string_view value = "{false}";
    std::string name = CLI::Formatter::make_option_name(option, positional);
    for (auto at = name.find(value); at != name.npos; at = name.find(value))
        name.erase(at, value.size());
    return name;
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
    std::string text = CLI::Formatter::make_option_opts(option);
    const auto [type, check] = type_and_check(*option);
    const std::string full = option->get_type_name();
    if (const auto at = text.find(full); !full.empty() && at != text.npos)
        text.replace(at, full.size(), type == "UINT" ? "N" : type);
    return text;
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
    std::string text = CLI::Formatter::make_option_desc(option);
    const auto [type, check] = type_and_check(*option);
    if (const auto range = between(check, " in [", "]"); !range.empty()) {
        const auto dash = range.find(" - ");
        text += fmt::format(" ({} to {})", range.substr(0, dash), range.substr(dash + 3));
    }
    return text;
}

std::string explain_usage(const CLI::App& app, const CLI::ParseError& error) {
    const GivenCommand given = given_command(app);
    const std::string what = error.what();
    std::string text;
    if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
        text = missing(given, what);
    } else if (const auto extra = given.app->remaining(); dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
        // What can do without a command takes no other word.
        const bool has_commands = !given.app->get_subcommands([](const CLI::App*) { return true; }).empty();
        text = has_commands ? missing_command(given) : unexpected(given, extra.empty() ? what : extra.front());
    } else {
        text = fmt::format("{}; see \"aerate {} --help\"", refused(what), given.words);
    }
    return given.words.empty() ? text : fmt::format("{}: {}", given.words, text);
}

} // namespace aerate
