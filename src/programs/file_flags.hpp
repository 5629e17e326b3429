// The flags by which an operator lets a guest from outside have files of this host.
#pragma once

#include "control/file_grants.hpp"

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace aerate {

struct FileFlags {
    std::vector<std::string> drives; ///< ID=FILE[,ro|,private[=DIR]]
    std::vector<std::string> nets;   ///< see control::parse_net_grant()
    std::vector<std::string> directories;
    std::string vsock; ///< path=FILE
    std::string kernel;
    std::string initrd;
};

/// `flags` outlives the parsing.
void add_file_flags(CLI::App& command, FileFlags& flags);
[[nodiscard]] Result<control::FileGrants> grants_from(const FileFlags&);

} // namespace aerate
