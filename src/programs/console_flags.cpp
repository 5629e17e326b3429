#include "programs/console_flags.hpp"

#include <CLI/CLI.hpp>

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

int run_as_told(bool detach, std::string name, std::string_view prefix, std::move_only_function<int(Started)> run) {
    return detach ? run_detached(std::move(name), prefix, std::move(run)) : run(nullptr);
}

} // namespace aerate
