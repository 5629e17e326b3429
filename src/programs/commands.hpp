// The subcommands. Each declares its flags on the parser, and leaves in `chosen` what to do when it is the one given.
#pragma once

#include "base/error.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

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
void add_console(CLI::App&, Command& chosen);
void add_ssh(CLI::App&, Command& chosen);
void add_image(CLI::App&, Command& chosen);
void add_restore(CLI::App&, Command& chosen);
void add_migrate(CLI::App&, Command& chosen);
void add_receive(CLI::App&, Command& chosen);
void add_api(CLI::App&, Command& chosen);
void add_prove(CLI::App&, Command& chosen);
void add_vhost_user(CLI::App&, Command& chosen);
void add_host(CLI::App&, Command& chosen);
void add_firecracker(CLI::App&, Command& chosen);
/// `arguments`: what stood after --, which no parser has seen.
void add_jail(CLI::App&, Command& chosen, std::vector<std::string> arguments);

/// Returns whether the program was started by Firecracker's name, through a link.
[[nodiscard]] bool is_firecracker(std::string_view argv0);
/// The exit status of `aerate firecracker` where the command line is wrong, as Firecracker's.
inline constexpr int firecracker_wrong_usage = 153;
/// Returns whether it was started by the name of Firecracker's launcher.
[[nodiscard]] bool is_jailer(std::string_view argv0);
inline constexpr int jailer_wrong_usage = 1;

/// Checks for the parser: returns empty if `text` is a size, else what is wrong with it.
std::string check_size(const std::string& text);

/// Checks for the parser what it does not: that a number fits. CLI11 takes the largest there is for what is larger.
std::string check_number(const std::string& text);

/// Says what failed on standard error; 1.
int report(const Error&);
/// Says what was asked wrongly on standard error; 2.
int wrong_usage(const Error&);
/// Returns 0, or report().
int exit_code(const Result<void>&);

} // namespace aerate
