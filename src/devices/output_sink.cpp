#include "devices/output_sink.hpp"

#include "base/log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>

namespace aerate {

Result<OutputSink> OutputSink::duplicate(int fd) {
    struct stat status{};
    if (::fstat(fd, &status) != 0)
        return fail_errno("cannot use file descriptor {} for console output", fd);

    OutputSink sink;
    sink.is_socket_ = S_ISSOCK(status.st_mode);
    if (S_ISFIFO(status.st_mode) || ::isatty(fd) == 1) {
        const std::string path = fmt::format("/proc/self/fd/{}", fd);
        sink.fd_ = FileDescriptor(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
    }
    // Not everything can be opened anew (a terminal of another user, a chroot without /proc). Then a stalled terminal
    // stalls the loop, which is still better than changing the shell's own descriptor.
    if (!sink.fd_.valid())
        sink.fd_ = FileDescriptor(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!sink.fd_.valid())
        return fail_errno("cannot duplicate file descriptor {} for console output", fd);

    // An epoll descriptor is readable when what it watches is ready, here to be written. Regular files cannot be
    // watched and need not be: they are never full for now.
    FileDescriptor poll(::epoll_create1(EPOLL_CLOEXEC));
    if (!poll.valid())
        return fail_errno("cannot create an epoll descriptor");
    epoll_event event{.events = EPOLLOUT, .data = {}};
    if (::epoll_ctl(poll.get(), EPOLL_CTL_ADD, sink.fd_.get(), &event) == 0)
        sink.poll_ = std::move(poll);
    return sink;
}

Result<OutputSink> OutputSink::open_file(const char* path) {
    OutputSink sink;
    sink.fd_ = FileDescriptor(::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600));
    if (!sink.fd_.valid())
        return fail_errno("cannot open {} for console output", path);
    return sink;
}

std::size_t OutputSink::write(std::span<const std::byte> bytes) {
    if (!fd_.valid())
        return bytes.size();
    ssize_t written = -1;
    do {
        written = is_socket_ ? ::send(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL)
                             : ::write(fd_.get(), bytes.data(), bytes.size());
    } while (written < 0 && errno == EINTR);
    if (written >= 0)
        return static_cast<std::size_t>(written);
    if (errno == EAGAIN && poll_.valid())
        return 0;
    log::warning("console output stops here: {}", describe_errno(errno));
    fd_.close();
    return bytes.size();
}

} // namespace aerate
