#include "base/regular_file.hpp"

#include "base/host.hpp"
#include "base/peer.hpp"

#include <unistd.h>

#include <array>

namespace aerate {

Result<RegularFile> open_regular(const std::string& path, Link link, int directory) {
    // O_NONBLOCK: opening a FIFO by mistake must not hang; it has no effect on a regular file.
    const int links = link == Link::refuse ? O_NOFOLLOW : 0;
    FileDescriptor fd = host::descriptor(
        [&] { return ::openat(directory, path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | links); });
    if (!fd.valid())
        return fail_errno("it cannot be opened");
    return regular_file(std::move(fd));
}

Result<RegularFile> regular_file(FileDescriptor fd) {
    RegularFile file;
    file.fd = std::move(fd);
    struct stat status{};
    if (::fstat(file.fd.get(), &status) != 0)
        return fail_errno("it cannot be inspected");
    if (!S_ISREG(status.st_mode))
        return fail("it is not a regular file");
    file.length = {static_cast<std::uint64_t>(status.st_size)};
    file.device = status.st_dev;
    file.inode = status.st_ino;
    file.owner = status.st_uid;
    file.mode = status.st_mode;
    file.modified_ns = modified_ns_of(status);
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
            return fail("it ends too early, at {}", offset.value);
        into = into.subspan(static_cast<std::size_t>(got));
        offset.value += static_cast<std::uint64_t>(got);
    }
    return {};
}

Result<> write_at(int fd, std::span<const std::byte> bytes, ByteCount offset) {
    while (!bytes.empty()) {
        const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset.value));
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return fail_errno("it cannot be written at {}", offset.value);
        if (written == 0)
            return fail("it takes no more, at {}", offset.value);
        bytes = bytes.subspan(static_cast<std::size_t>(written));
        offset.value += static_cast<std::uint64_t>(written);
    }
    return {};
}

Result<> check_secrecy(const std::string& path, uid_t owner, mode_t mode) {
    if (!is_trusted_user(owner, ::geteuid()))
        return fail("it belongs to user {}, who can read and replace it: \"chown {} {}\"", owner, ::geteuid(), path);
    if ((mode & (S_IRWXG | S_IRWXO)) != 0)
        return fail("other users can read or write it (mode {:04o}): \"chmod 600 {}\"", mode & 07777U, path);
    return {};
}

Result<> check_only_we_write(const RegularFile& file, const std::string& path) {
    if (!is_trusted_user(file.owner, ::geteuid()))
        return fail("it belongs to user {}, who can change it at any time", file.owner);
    if ((file.mode & (S_IWGRP | S_IWOTH)) != 0)
        return fail("other users can change it (mode {:04o}): \"chmod go-w {}\"", file.mode & 07777U, path);
    return {};
}

Result<std::string> read_text_file(const std::string& path, std::size_t longest) {
    const auto read = [&]() -> Result<std::string> {
        const auto file = TRY(open_regular(path, Link::follow));
        std::string text;
        std::array<char, 16384> chunk;
        for (;;) { // those of /proc do not say how long they are
            const ssize_t got = ::read(file.fd.get(), chunk.data(), chunk.size());
            if (got < 0 && errno == EINTR)
                continue;
            if (got < 0)
                return fail_errno("it cannot be read");
            if (got == 0)
                return text;
            text.append(chunk.data(), static_cast<std::size_t>(got));
            if (text.size() > longest)
                return fail("it is longer than {} bytes", longest);
        }
    }();
    if (!read)
        return fail_because(read.error(), "cannot use {}", path);
    return read;
}

Result<> read_secret(const std::string& path, std::span<std::byte> into) {
    const auto file = TRY(open_regular(path, Link::follow));
    if (file.length != ByteCount{into.size()})
        return fail("it is not of {} bytes: \"head -c {} /dev/urandom\" makes one", into.size(), into.size());
    TRY(check_secrecy(path, file.owner, file.mode));
    return read_at(file.fd.get(), into, {0});
}

} // namespace aerate
