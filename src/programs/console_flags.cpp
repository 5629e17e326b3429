#include "programs/console_flags.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace aerate {

void add_console_flags(CLI::App& command, RunOptions& options) {
    CLI::Option* const where =
        command
            .add_option("--console", options.console,
                        "stdio, none, socket (for aerate console), or a file for the console's output")
            ->capture_default_str()
            ->type_name("WHERE");
    command.add_flag_callback(
        "--detach",
        [&options, where] {
            if (where->count() == 0)
                options.console = "socket";
            if (options.console == "stdio")
                throw CLI::ValidationError("--detach", "the VM has no terminal then: not with --console stdio");
            options.detach = true;
        },
        "return when the VM runs; aerate console attaches a terminal to it");
}

std::string told_of_start(const RunOptions& options, const std::string& name, pid_t pid) {
    const bool waits = options.receive || !options.start;
    const std::string_view does = options.receive  ? "waits for a guest"
                                  : !options.start ? "waits until it is started or resumed"
                                                   : "runs";
    std::string text = fmt::format("{} {}, process {}", name, does, pid);
    // A guest that comes without a name that was given here has one of its own.
    const bool named = !options.receive || !options.receive->name.empty();
    if (options.console == "socket" && named)
        text += fmt::format("; {}\"aerate console {}\" attaches this terminal to it", waits ? "then " : "", name);
    return text;
}

int run_as_told(const RunOptions& options, std::string name, std::string_view prefix,
                std::move_only_function<int(Started)> run) {
    if (!options.detach)
        return run(nullptr);
    return run_detached(std::move(name), prefix, std::move(run), [&options](const std::string& started, pid_t pid) {
        return told_of_start(options, started, pid);
    });
}

} // namespace aerate
