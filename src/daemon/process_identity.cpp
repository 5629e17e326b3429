#include "daemon/process_identity.hpp"

#include <fmt/format.h>

#include <fstream>
#include <sstream>
#include <string>

namespace aerate {

std::optional<ProcessIdentity> ProcessIdentity::of(pid_t pid) {
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    std::string line;
    std::getline(file, line);
    // proc_pid_stat(5): the name, which may have anything in it, ends at the last bracket; 20 fields later is the
    // start.
    const auto name_end = line.rfind(')');
    if (pid <= 0 || name_end == line.npos)
        return std::nullopt;
    std::istringstream fields(line.substr(name_end + 1));
    std::string skipped;
    for (int field = 3; field < 22; ++field)
        fields >> skipped;
    std::uint64_t started = 0;
    if (!(fields >> started))
        return std::nullopt;
    return ProcessIdentity{pid, started};
}

} // namespace aerate
