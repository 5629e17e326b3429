// A path as the file's directory and its name there, which is how files of snapshots are reached.
#pragma once

#include <string>

namespace aerate::snapshot {

struct FilePath {
    explicit FilePath(const std::string& path)
        : directory(path.substr(0, path.rfind('/') + 1))
        , name(path.substr(directory.size())) {
        if (directory.empty())
            directory = "./";
    }
    std::string directory; ///< ends with a slash
    std::string name;      ///< may be anything but a path: is_file_name()
};

} // namespace aerate::snapshot
