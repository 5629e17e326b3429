#include "base/append_file.hpp"

#include "base/host.hpp"

#include <fcntl.h>

#include <sys/stat.h>

namespace aerate {

Result<FileDescriptor> open_to_append(const std::string& path, std::string_view purpose) {
    struct stat status{};
    const bool is_fifo = ::stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode);
    // fifo(7): opened for both ends a FIFO does not block, and no reader that leaves breaks it.
    const int access = is_fifo ? O_RDWR : O_WRONLY | O_CREAT;
    FileDescriptor fd = host::descriptor(
        [&] { return ::open(path.c_str(), access | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600); });
    if (!fd.valid())
        return fail_errno("cannot open {} for {}", path, purpose);
    return fd;
}

} // namespace aerate
