// The subcommands. Each declares its flags on the parser, and leaves in `chosen` what to do when it is the one given.
#pragma once

#include "base/error.hpp"

#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace aerate {

/// Returns the process's exit code: 0, 1 when it failed, 2 when it was asked wrongly.
using Command = std::function<int()>;

void add_run(CLI::App&, Command& chosen);
void add_ps(CLI::App&, Command& chosen);
void add_stat(CLI::App&, Command& chosen);
void add_top(CLI::App&, Command& chosen);
void add_balloon(CLI::App&, Command& chosen);
void add_hint(CLI::App&, Command& chosen);
void add_lifecycle(CLI::App&, Command& chosen);
void add_sweep(CLI::App&, Command& chosen);
void add_squeeze(CLI::App&, Command& chosen);
void add_snapshot(CLI::App&, Command& chosen);
void add_restore(CLI::App&, Command& chosen);
void add_migrate(CLI::App&, Command& chosen);
void add_receive(CLI::App&, Command& chosen);
void add_api(CLI::App&, Command& chosen);
void add_prove(CLI::App&, Command& chosen);
void add_vhost_user(CLI::App&, Command& chosen);

/// For the parser's check(): empty if `text` is a size, else what is wrong with it.
std::string check_size(const std::string& text);

/// Says what failed on standard error; 1.
int report(const Error&);
/// 0, or report().
int exit_code(const Result<void>&);

} // namespace aerate
