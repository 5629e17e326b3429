// What /proc says of this process's own memory. A process that hides its memory (PR_SET_DUMPABLE) and is not root's can
// no longer open these, since they belong to root then: it keeps them open from before.
#pragma once

#include "base/fd.hpp"

namespace aerate {

/// Opens these files for all later calls, before this process hides its memory. What the host does not let it open is
/// unknown from then on. A later call, after a reset of the guest, keeps what is open: it could not be opened again.
void keep_own_maps();

/// Returns /proc/self/pagemap, or a duplicate of what is kept; invalid if the host refuses.
[[nodiscard]] FileDescriptor own_pagemap();
/// The same for /proc/self/smaps. Duplicates have one position.
[[nodiscard]] FileDescriptor own_smaps();
/// The same for /proc/self/statm.
[[nodiscard]] FileDescriptor own_statm();

} // namespace aerate
