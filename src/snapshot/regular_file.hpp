// Opening and reading a file that somebody else may have put there.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"

#include <sys/stat.h>

#include <cstddef>
#include <span>
#include <string>

namespace aerate::snapshot {

struct RegularFile {
    [[nodiscard]] bool is(const RegularFile& other) const { return device == other.device && inode == other.inode; }
    FileDescriptor fd;
    ByteCount length{};
    dev_t device{};
    ino_t inode{};
};

/// For reading. `path` is relative to the directory; a symbolic link at its end, or anything but a regular file, is
/// refused.
[[nodiscard]] Result<RegularFile> open_regular(int directory, const std::string& path);
/// Fills `into` from `offset` on; an error when the file ends before.
[[nodiscard]] Result<> read_at(int fd, std::span<std::byte> into, ByteCount offset);

} // namespace aerate::snapshot
