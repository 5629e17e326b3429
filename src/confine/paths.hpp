// Which files a process may open by name from some moment on: Landlock.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace aerate::confine {

enum class Access : std::uint8_t {
    read,      ///< a file, or the files below a directory
    write,     ///< reads and writes a file, or a device
    directory, ///< does all with what is below: reads, writes, makes, renames, removes
    sockets,   ///< makes and removes sockets in a directory
};

struct Place {
    std::string path;
    Access access;
};

/// Returns which version of Landlock this kernel has; 0: none.
[[nodiscard]] int landlock_version();

/// Lets the calling thread, and those that it starts, open nothing but these from now on, by whichever path. What is
/// open stays so. A place that does not exist is none. Connections to unix sockets are not concerned. REQUIRES:
/// no_new_privs is set.
[[nodiscard]] Result<> allow_only(const std::vector<Place>&);

} // namespace aerate::confine
