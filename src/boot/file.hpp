// Reading the files that a VM boots from.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"

#include <cstddef>
#include <span>
#include <string>

namespace aerate {

struct OpenFile {
    FileDescriptor fd;
    ByteCount size;
};

/// Regular files only. `what` is for messages: "kernel image".
[[nodiscard]] Result<OpenFile> open_file(const std::string& path, const char* what);
/// Fills `into` from the start of the file; an error when it has become shorter.
[[nodiscard]] Result<void> read_file(const OpenFile&, std::span<std::byte> into, const std::string& path,
                                     const char* what);

} // namespace aerate
