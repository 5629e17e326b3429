// What commands print. Names, paths and messages may come from a snapshot, a peer or another user's VM, so all of it is
// made printable here; scripts/check-layers refuses every other way to print.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdio>
#include <string_view>
#include <utility>

namespace aerate {

/// Prints lines on standard output, printable_lines().
void print_text(std::string_view);
template <typename... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
    print_text(fmt::format(format, std::forward<Args>(args)...));
}

/// Returns whether all that was printed on standard output so far has been taken. If not, end_output() says so.
[[nodiscard]] bool flush_output();

/// Returns a command's exit status: `status`, unless what it has printed was not taken, as by a full disk. That is an
/// error of every command, and is said here.
[[nodiscard]] int end_output(int status);

/// Prints "aerate: MESSAGE" on standard error. Further lines of the message are indented, so that none can pass for a
/// message of its own.
void print_error(std::string_view message);

/// Returns how many columns standard output has: the terminal's, else $COLUMNS, else `otherwise`.
[[nodiscard]] std::size_t output_columns(std::size_t otherwise);

/// Prints a picture for the terminal with the control sequences that are in it.
/// REQUIRES: what came from outside in it is printable().
void draw(std::FILE*, std::string_view);

} // namespace aerate
