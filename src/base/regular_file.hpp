// Opening and reading a file that somebody else may have put there.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"

#include <fcntl.h>

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace aerate {

struct RegularFile {
    [[nodiscard]] bool is(const RegularFile& other) const { return device == other.device && inode == other.inode; }
    FileDescriptor fd;
    ByteCount length{};
    dev_t device{};
    ino_t inode{};
    mode_t mode{};
};

/// A symbolic link at the end of a path.
enum class Link : std::uint8_t { follow, refuse };

/// For reading. `path` is relative to the directory; anything but a regular file is refused.
[[nodiscard]] Result<RegularFile> open_regular(const std::string& path, Link, int directory = AT_FDCWD);
/// Fills `into` from `offset` on; an error when the file ends before.
[[nodiscard]] Result<> read_at(int fd, std::span<std::byte> into, ByteCount offset);
/// A secret that every user of this machine can read, or replace, is none.
[[nodiscard]] Result<> check_secrecy(const std::string& path, mode_t mode);
/// Fills `into` from a file that has as many bytes and no more, and is not for everybody.
[[nodiscard]] Result<> read_secret(const std::string& path, std::span<std::byte> into);

} // namespace aerate
