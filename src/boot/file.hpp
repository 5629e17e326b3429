// Reading the files that a VM boots from.
#pragma once

#include "base/error.hpp"
#include "base/regular_file.hpp"

#include <cstddef>
#include <span>
#include <string>

namespace aerate {

/// Regular files only. `what` is for messages: "kernel image".
[[nodiscard]] Result<RegularFile> open_file(const std::string& path, const char* what);
/// Fills `into` from the start of the file; an error when it has become shorter.
[[nodiscard]] Result<> read_file(const RegularFile&, std::span<std::byte> into, const std::string& path,
                                 const char* what);

} // namespace aerate
