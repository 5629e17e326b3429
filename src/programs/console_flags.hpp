// What run, restore and receive have in common: where the console goes, and whether the command waits for the VM's end.
#pragma once

#include "programs/run.hpp"

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace aerate {

/// `options` outlives the parsing.
void add_console_flags(CLI::App& command, RunOptions& options);

/// Carries out `run` here, or detached if that was asked for: see run_detached().
[[nodiscard]] int run_as_told(const RunOptions&, std::string name, std::string_view prefix,
                              std::move_only_function<int(Started)> run);

/// Returns what is so once a detached process has started: what it does, and how its console is reached, if it is.
[[nodiscard]] std::string told_of_start(const RunOptions&, const std::string& name, pid_t);

} // namespace aerate
