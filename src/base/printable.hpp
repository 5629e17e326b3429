// Text that came from outside (a guest, a peer, a file, an API caller) made fit for a terminal and a log. The log, and
// programs/output.hpp for everything that a command prints, pass all text through here, so that no caller can forget.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace aerate {

/// More than any message of our own, and little enough that a stranger's text cannot fill the screen.
inline constexpr std::size_t printable_max = 4096;

/// Returns `text` as one line: control characters, invalid UTF-8, and the characters that reorder a line (Unicode
/// Standard Annex 9) become escapes such as \n, \x1b or \u202e, and what is beyond `longest` bytes becomes "...".
[[nodiscard]] std::string printable(std::string_view text, std::size_t longest = printable_max);

/// Returns `text` with its lines kept and each of them printable(), of any length: REQUIRES a reader who bounds it.
[[nodiscard]] std::string printable_lines(std::string_view text);

} // namespace aerate
