// Opening and reading a file that another user may have put there.
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
    uid_t owner{};
    mode_t mode{};
    std::int64_t modified_ns{}; ///< since 1970
};

/// Returns when the content was written last, in nanoseconds since 1970. Nothing else changes that: not another name,
/// not another mode.
[[nodiscard]] inline std::int64_t modified_ns_of(const struct stat& status) {
    return std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

/// A symbolic link at the end of a path.
enum class Link : std::uint8_t { follow, refuse };

/// Opens a file for reading. `path` is relative to the directory; anything but a regular file is refused.
[[nodiscard]] Result<RegularFile> open_regular(const std::string& path, Link, int directory = AT_FDCWD);
/// Takes a file that is already open, with O_NONBLOCK.
[[nodiscard]] Result<RegularFile> regular_file(FileDescriptor);
/// Fills `into` from `offset` on; an error when the file ends before.
[[nodiscard]] Result<> read_at(int fd, std::span<std::byte> into, ByteCount offset);
/// Writes all of it from `offset` on.
[[nodiscard]] Result<> write_at(int fd, std::span<const std::byte>, ByteCount offset);
/// Fails unless the file belongs to our user or root, and the mode keeps everybody else out: what others can read or
/// replace is no secret.
[[nodiscard]] Result<> check_secrecy(const std::string& path, uid_t owner, mode_t mode);
/// Fails when another user than ours and root can change the file: it belongs to them, or its mode lets them write.
[[nodiscard]] Result<> check_only_we_write(const RegularFile&, const std::string& path);
/// Reads a whole file that the operator names. Fails, and names it, if it is longer than that or not a regular file:
/// what comes through a FIFO may never come.
[[nodiscard]] Result<std::string> read_text_file(const std::string& path, std::size_t longest);
/// Fills `into` from a file that has as many bytes and no more, and passes check_secrecy().
[[nodiscard]] Result<> read_secret(const std::string& path, std::span<std::byte> into);

} // namespace aerate
