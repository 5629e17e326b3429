#include "snapshot/file_operations.hpp"

#include "base/host.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdio>

namespace aerate::snapshot {
namespace {

bool within_size_limit(std::uint64_t end) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && (limit.rlim_cur == RLIM_INFINITY || end <= limit.rlim_cur))
        return true;
    errno = EFBIG;
    return false;
}

} // namespace

FileOperations& FileOperations::real() {
    static FileOperations operations;
    return operations;
}

int FileOperations::open(int directory, const std::string& name, int flags) {
    // 0600: a guest's secrets
    return host::descriptor([&] { return ::openat(directory, name.c_str(), flags, 0600); }).release();
}

int FileOperations::stat(int directory, const std::string& name, struct stat& status) {
    return ::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW);
}

int FileOperations::truncate(int fd, ByteCount length) {
    return within_size_limit(length.value) ? ::ftruncate(fd, static_cast<off_t>(length.value)) : -1;
}

ssize_t FileOperations::write(int fd, std::span<const std::byte> bytes, ByteCount offset) {
    if (!within_size_limit(offset.value + bytes.size()))
        return -1;
    return ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset.value));
}

int FileOperations::punch_hole(int fd, ByteCount offset, ByteCount length) {
    return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset.value),
                       static_cast<off_t>(length.value));
}

int FileOperations::clone(int fd, int from) {
    return ::ioctl(fd, FICLONE, from);
}

int FileOperations::sync(int fd) {
    return ::fsync(fd);
}

int FileOperations::link(int fd, int directory, const std::string& name) {
    // open(2), O_TMPFILE: the way that needs no privilege.
    return ::linkat(AT_FDCWD, fmt::format("/proc/self/fd/{}", fd).c_str(), directory, name.c_str(), AT_SYMLINK_FOLLOW);
}

int FileOperations::rename(int directory, const std::string& from, const std::string& to) {
    return ::renameat(directory, from.c_str(), directory, to.c_str());
}

int FileOperations::rename_to_free_name(int directory, const std::string& from, const std::string& to) {
    return ::renameat2(directory, from.c_str(), directory, to.c_str(), RENAME_NOREPLACE);
}

int FileOperations::unlink(int directory, const std::string& name) {
    return ::unlinkat(directory, name.c_str(), 0);
}

} // namespace aerate::snapshot
