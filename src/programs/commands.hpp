// The subcommands. Each declares its flags on the parser, and leaves in `chosen` what to do when it is the one given.
#pragma once

#include "base/error.hpp"

#include <functional>

namespace CLI {
class App;
}

namespace aerate {

/// Returns the process's exit code: 0, or 1 when it failed. (2, wrong usage, is the parser's.)
using Command = std::function<int()>;

void add_run(CLI::App&, Command& chosen);
void add_ps(CLI::App&, Command& chosen);
void add_stat(CLI::App&, Command& chosen);
void add_top(CLI::App&, Command& chosen);
void add_balloon(CLI::App&, Command& chosen);
void add_hint(CLI::App&, Command& chosen);
void add_lifecycle(CLI::App&, Command& chosen);
void add_api(CLI::App&, Command& chosen);

/// Says what failed on standard error; 1.
int report(const Error&);
/// 0, or report().
int exit_code(const Result<void>&);

} // namespace aerate
