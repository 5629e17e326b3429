// A file or FIFO of the operator's, to which lines are appended and from which nothing is read.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <string>
#include <string_view>

namespace aerate {

/// Opens a file to append to, which is made if there is none; so it may be emptied at any time (copytruncate of
/// logrotate). A FIFO is held open whether it has a reader or not: none is waited for, and each may come and go. Writes
/// never wait. `purpose` is for the message: "console output".
[[nodiscard]] Result<FileDescriptor> open_to_append(const std::string& path, std::string_view purpose);

} // namespace aerate
