// A path as the file's directory and its name there, which is how files of snapshots are reached.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

namespace aerate::snapshot {

/// What a file is, whatever it is called.
struct FileId {
    dev_t device{};
    ino_t inode{};
    bool operator==(const FileId&) const = default;
};

/// Returns nothing when there is no such file. Does not follow a symbolic link.
[[nodiscard]] inline std::optional<FileId> file_id(const std::string& path) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0)
        return std::nullopt;
    return FileId{status.st_dev, status.st_ino};
}

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
