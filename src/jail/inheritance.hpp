// What a process inherits beside descriptors and environment, and a jail's is not to use.
#pragma once

#include "base/error.hpp"

namespace aerate::jail {

/// Fails if one of the standard streams is a directory, or a path alone, by which the jail's program would be outside
/// its root at once.
[[nodiscard]] Result<> check_standard_streams();

/// Has a session keyring of its own, with nothing in it: the launcher's has its user's secrets, and follows a change of
/// the user (keyrings(7)).
[[nodiscard]] Result<> leave_keyring();

/// Types into no terminal from now on, and in what it executes: what is pushed back into a terminal's input (TIOCSTI,
/// TIOCLINUX) is read by the shell that started the launcher. Calls by another table than x86-64's, which would get
/// around that, fail with ENOSYS. REQUIRES: no_new_privs is set.
[[nodiscard]] Result<> leave_terminal_alone();

} // namespace aerate::jail
