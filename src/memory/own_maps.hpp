// What /proc says of this process's own memory, kept open: a process that hides its memory (PR_SET_DUMPABLE) and is not
// root's can no longer open these, since they belong to root then.
#pragma once

#include "base/fd.hpp"

namespace aerate {

/// Returns /proc/self/pagemap, opened by the first call in this process; invalid if the host did not let it then.
[[nodiscard]] const FileDescriptor& own_pagemap();
/// The same for /proc/self/smaps.
[[nodiscard]] const FileDescriptor& own_smaps();

} // namespace aerate
