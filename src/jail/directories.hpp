// Directories that nobody else can exchange for others while a jail is made in them: each is opened in the one before,
// no symbolic link of a stranger's is followed, and who owns it, and who may write to it, is looked at once it is open.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <sys/stat.h>
#include <sys/types.h>

#include <optional>
#include <string>

namespace aerate::jail {

enum class Missing : std::uint8_t { make, refuse };

/// Opens a directory that the operator names, from / on. Its own symbolic links are followed, another user's are not.
/// Fails if another user could exchange a directory on the way.
[[nodiscard]] Result<FileDescriptor> open_operators_directory(const std::string& path, Missing);

/// Opens the directory `name` in another. Fails for a symbolic link, and if it is another user's than ours, root's or
/// `also`, or others may write to it. `path` is what messages call it. ENOENT stays in the error.
[[nodiscard]] Result<FileDescriptor> open_below(int directory, const std::string& name, const std::string& path,
                                                Missing, std::optional<uid_t> also = std::nullopt);

/// Opens a directory whoever's it is, to remove what is in it. Fails for a symbolic link. ENOENT stays in the error.
[[nodiscard]] Result<FileDescriptor> open_to_clear(int directory, const std::string& name, const std::string& path);

/// fstat(2) of what is open.
[[nodiscard]] Result<struct stat> status_of(int fd, const std::string& path);

} // namespace aerate::jail
