// Files of /proc and of cgroups, which the kernel makes as they are read.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <string>

namespace aerate::hostd {

/// Returns at most 64 KiB from the beginning of the file.
[[nodiscard]] Result<std::string> read_again(const FileDescriptor&);
/// Returns the same of a file that is opened for it.
[[nodiscard]] Result<std::string> read_file(const std::string& path);

} // namespace aerate::hostd
