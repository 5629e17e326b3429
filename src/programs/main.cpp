#include "control/size.hpp"
#include "control/version.hpp"
#include "programs/command_line.hpp"
#include "programs/commands.hpp"
#include "programs/complete.hpp"
#include "programs/output.hpp"
#include "programs/process.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace aerate {

int report(const Error& error) {
    print_error(error.message);
    return 1;
}

int wrong_usage(const Error& error) {
    report(error);
    return wrong_usage_status;
}

int exit_code(const Result<void>& result) {
    return result ? 0 : report(result.error());
}

std::string check_size(const std::string& text) {
    const auto size = control::parse_size(text);
    return size ? "" : size.error().message;
}

std::string check_number(const std::string& text) {
    constexpr auto most = std::numeric_limits<std::int64_t>::max();
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool whole = error == std::errc() && end == text.data() + text.size() && number >= 0;
    return whole ? "" : fmt::format("{} is not a whole number of at most {}", text, most);
}

namespace {

Command no_such_command(const std::string& word) {
    return [word] {
        print_error(fmt::format("no such command: {}; \"aerate help\" lists them", word));
        return wrong_usage_status;
    };
}

Command print_this(std::string text) {
    return [text = std::move(text)] {
        print_text(text);
        return 0;
    };
}

/// Returns the exit status for a command line that is wrong.
int wrong_usage_of(std::string_view command) {
    return command == "firecracker" ? firecracker_wrong_usage
           : command == "jail"      ? jailer_wrong_usage
                                    : wrong_usage_status;
}

/// Returns what the command line asks for. The parser, a hundred objects of it, is gone by then: a monitor runs for
/// long.
Command parse(int argc, char** argv, std::vector<std::string> jailed_arguments) {
    CLI::App app("Runs virtual machines that cost their host only the memory they use.", "aerate");
    Command chosen;
    const std::string version = fmt::format("aerate {}", control::version);
    app.set_version_flag("--version", version);
    app.require_subcommand(1);
    app.formatter(std::make_shared<HelpFormatter>());
    add_run(app, chosen);
    add_image(app, chosen);
    add_console(app, chosen);
    add_ssh(app, chosen);
    add_ps(app, chosen);
    add_stat(app, chosen);
    add_top(app, chosen);
    add_balloon(app, chosen);
    add_hint(app, chosen);
    add_sweep(app, chosen);
    add_squeeze(app, chosen);
    add_snapshot(app, chosen);
    add_restore(app, chosen);
    add_migrate(app, chosen);
    add_receive(app, chosen);
    add_lifecycle(app, chosen);
    add_api(app, chosen);
    add_prove(app, chosen);
    add_vhost_user(app, chosen);
    add_host(app, chosen);
    add_firecracker(app, chosen);
    add_jail(app, chosen, std::move(jailed_arguments));
    std::string help_for;
    CLI::App& help = *app.add_subcommand("help", "Print this, or the help of a command");
    help.add_option("command", help_for, "name of the command")->option_text("[COMMAND]");
    help.callback([&] {
        const auto named = app.get_subcommands([&](const CLI::App* sub) { return sub->get_name() == help_for; });
        // help() of the whole would be that of the subcommand which was given: this one.
        if (help_for.empty())
            chosen = print_this(app.get_formatter()->make_help(&app, "aerate", CLI::AppFormatMode::Normal));
        else
            chosen = named.empty() ? no_such_command(help_for) : print_this(named.front()->help("aerate"));
    });
    app.add_subcommand("version", "Print the version")->callback([&] { chosen = print_this(version + "\n"); });
    if (argc > 1 && std::string_view(argv[1]) == "complete") { // for shells: its words are no command line of its own
        const int status = print_completions(app, {argv + 2, argv + argc});
        return [status] { return status; };
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) { // --help, --version
            std::ostringstream text;
            app.exit(error, text, text);
            return print_this(text.str());
        }
        return [what = explain_usage(app, error), status = wrong_usage_of(argc > 1 ? argv[1] : "")] {
            print_error(what);
            return status;
        };
    }
    return chosen;
}

/// The command line, with the subcommand that the program's own name stands for.
std::vector<char*> with_command(int argc, char** argv) {
    static std::string firecracker = "firecracker";
    static std::string jail = "jail";
    std::vector<char*> words(argv, argv + argc);
    if (argc > 0 && is_firecracker(argv[0]))
        words.insert(words.begin() + 1, firecracker.data());
    if (argc > 0 && is_jailer(argv[0]))
        words.insert(words.begin() + 1, jail.data());
    return words;
}

/// Takes off the command line of a jail what is its program's, whose flags are not ours to understand.
std::vector<std::string> take_jailed_arguments(std::vector<char*>& words) {
    if (words.size() < 2 || std::string_view(words[1]) != "jail")
        return {};
    const auto end =
        std::ranges::find(words, std::string_view("--"), [](const char* word) { return std::string_view(word); });
    std::vector<std::string> taken(end == words.end() ? end : end + 1, words.end());
    words.erase(end, words.end());
    return taken;
}

} // namespace
} // namespace aerate

int main(int argc, char** argv) {
    if (!aerate::have_standard_descriptors())
        return 1; // there is nowhere to say why
    try {
        std::vector<char*> words = aerate::with_command(argc, argv);
        std::vector<std::string> jailed = aerate::take_jailed_arguments(words);
        words.push_back(nullptr);
        const aerate::Command chosen =
            aerate::parse(static_cast<int>(words.size()) - 1, words.data(), std::move(jailed));
        return aerate::end_output(chosen());
    } catch (const std::exception& error) {
        aerate::print_error(error.what());
        return 1;
    }
}
