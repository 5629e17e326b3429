#include "boot/file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/stat.h>

#include <cerrno>

namespace aerate {

Result<OpenFile> open_file(const std::string& path, const char* what) {
    // O_NONBLOCK: opening a FIFO by mistake must not hang; it has no effect on a regular file.
    FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd.valid())
        return fail_errno("cannot open the {} {}", what, path);
    struct stat status{};
    if (::fstat(fd.get(), &status) != 0)
        return fail_errno("cannot look at the {} {}", what, path);
    if (!S_ISREG(status.st_mode))
        return fail("the {} {} is not a regular file", what, path);
    return OpenFile{std::move(fd), ByteCount{static_cast<std::uint64_t>(status.st_size)}};
}

Result<void> read_file(const OpenFile& file, std::span<std::byte> into, const std::string& path, const char* what) {
    std::size_t done = 0;
    while (done < into.size()) {
        const ssize_t got = ::pread(file.fd.get(), into.data() + done, into.size() - done, static_cast<off_t>(done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno("cannot read the {} {}", what, path);
        if (got == 0)
            return fail("the {} {} became shorter while it was read", what, path);
        done += static_cast<std::size_t>(got);
    }
    return {};
}

} // namespace aerate
