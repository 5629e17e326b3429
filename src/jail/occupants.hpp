// Who lives in a directory: a process whose root it is, or is below it.
#pragma once

#include "base/error.hpp"

#include <sys/types.h>

#include <optional>

namespace aerate::jail {

/// Returns a process whose root directory this is, or one in it, by the kernel's word: no file in the jail, which its
/// process could change, is asked.
[[nodiscard]] Result<std::optional<pid_t>> process_in(int directory);

} // namespace aerate::jail
