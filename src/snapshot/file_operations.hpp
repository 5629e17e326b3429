// The system calls that write a snapshot, so that a test can make each of them fail. They return what the system call
// returns and set errno; a write beyond RLIMIT_FSIZE fails with EFBIG here instead of raising SIGXFSZ.
#pragma once

#include "base/units.hpp"

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>

namespace aerate::snapshot {

class FileOperations {
public:
    virtual ~FileOperations() = default;

    [[nodiscard]] virtual int open(int directory, const std::string& name, int flags);
    /// Does not follow a symbolic link.
    [[nodiscard]] virtual int stat(int directory, const std::string& name, struct stat&);
    [[nodiscard]] virtual int truncate(int fd, ByteCount length);
    [[nodiscard]] virtual ssize_t write(int fd, std::span<const std::byte>, ByteCount offset);
    [[nodiscard]] virtual int punch_hole(int fd, ByteCount offset, ByteCount length);
    /// Makes the file share the blocks of another (FICLONE); EOPNOTSUPP, EXDEV and the like where it cannot.
    [[nodiscard]] virtual int clone(int fd, int from);
    [[nodiscard]] virtual int sync(int fd);
    /// Gives a file that has no name one; EEXIST when the name is taken.
    [[nodiscard]] virtual int link(int fd, int directory, const std::string& name);
    [[nodiscard]] virtual int rename(int directory, const std::string& from, const std::string& to);
    /// EEXIST when the name is taken; EINVAL or ENOSYS where the file system or the kernel does not know how.
    [[nodiscard]] virtual int rename_to_free_name(int directory, const std::string& from, const std::string& to);
    [[nodiscard]] virtual int unlink(int directory, const std::string& name);

    [[nodiscard]] static FileOperations& real();
};

} // namespace aerate::snapshot
