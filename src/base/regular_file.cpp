#include "base/regular_file.hpp"

#include <unistd.h>

namespace aerate {

Result<RegularFile> open_regular(const std::string& path, Link link, int directory) {
    RegularFile file;
    // O_NONBLOCK: opening a FIFO by mistake must not hang; it has no effect on a regular file.
    const int links = link == Link::refuse ? O_NOFOLLOW : 0;
    file.fd = FileDescriptor(::openat(directory, path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | links));
    if (!file.fd.valid())
        return fail_errno("it cannot be opened");
    struct stat status{};
    if (::fstat(file.fd.get(), &status) != 0)
        return fail_errno("it cannot be looked at");
    if (!S_ISREG(status.st_mode))
        return fail("it is not a regular file");
    file.length = {static_cast<std::uint64_t>(status.st_size)};
    file.device = status.st_dev;
    file.inode = status.st_ino;
    file.mode = status.st_mode;
    return file;
}

Result<> read_at(int fd, std::span<std::byte> into, ByteCount offset) {
    while (!into.empty()) {
        const ssize_t got = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset.value));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno("it cannot be read at {}", offset.value);
        if (got == 0)
            return fail("it ends at {}, too early", offset.value);
        into = into.subspan(static_cast<std::size_t>(got));
        offset.value += static_cast<std::uint64_t>(got);
    }
    return {};
}

Result<> check_secrecy(const std::string& path, mode_t mode) {
    if ((mode & (S_IROTH | S_IWOTH)) == 0)
        return {};
    return fail("every user of this machine can read or write it (mode {:04o}): \"chmod 600 {}\"", mode & 07777U, path);
}

Result<> read_secret(const std::string& path, std::span<std::byte> into) {
    const auto file = TRY(open_regular(path, Link::follow));
    if (file.length != ByteCount{into.size()})
        return fail("it is not of {} bytes: \"head -c {} /dev/urandom\" makes one", into.size(), into.size());
    TRY(check_secrecy(path, file.mode));
    return read_at(file.fd.get(), into, {0});
}

} // namespace aerate
