// Makes, joins and removes a jail's cgroups.
#pragma once

#include "base/error.hpp"
#include "jail/hierarchies.hpp"

namespace aerate::jail {

/// Makes the cgroup, anew if an earlier jail has left it, and its parents where they are missing, and writes its
/// settings. Fails if processes are in it, or it is another user's.
[[nodiscard]] Result<> make(const Cgroup&);
/// Moves this process there.
[[nodiscard]] Result<> join(const Cgroup&);
/// Removes the cgroup, not its parents. Fails if processes are in it; that there is none is no error.
[[nodiscard]] Result<> remove(const Cgroup&);

} // namespace aerate::jail
