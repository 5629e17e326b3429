#include "platform/output_sink.hpp"

#include "base/append_file.hpp"
#include "base/host.hpp"
#include "base/log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include <cerrno>
#include <utility>

namespace aerate {

Result<OutputSink> OutputSink::duplicate(int fd) {
    struct stat status{};
    if (::fstat(fd, &status) != 0)
        return fail_errno("cannot use file descriptor {} for console output", fd);

    OutputSink sink;
    sink.is_socket_ = S_ISSOCK(status.st_mode);
    if (S_ISFIFO(status.st_mode) || ::isatty(fd) == 1) {
        const std::string path = fmt::format("/proc/self/fd/{}", fd);
        sink.fd_ = host::descriptor([&] { return ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY); });
    }
    // Not everything can be opened anew (a terminal of another user, a chroot without /proc). Then a stalled terminal
    // stalls the loop, which is still better than changing the shell's own descriptor.
    if (!sink.fd_.valid())
        sink.fd_ = host::descriptor([&] { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0); });
    if (!sink.fd_.valid())
        return fail_errno("cannot duplicate file descriptor {} for console output", fd);

    sink.name_ = "the console";
    TRY(sink.watch());
    return sink;
}

Result<OutputSink> OutputSink::open_file(const std::string& path) {
    OutputSink sink;
    sink.fd_ = TRY(open_to_append(path, "console output"));
    struct stat status{};
    if (::fstat(sink.fd_.get(), &status) != 0)
        return fail_errno("cannot inspect {}", path);
    sink.is_file_ = S_ISREG(status.st_mode) || S_ISFIFO(status.st_mode);
    sink.name_ = path;
    TRY(sink.watch());
    return sink;
}

Result<> OutputSink::watch() {
    // An epoll descriptor is readable when what it watches is ready, here to be written. Regular files cannot be
    // watched and need not be: they are never full for now.
    FileDescriptor poll = host::descriptor([&] { return ::epoll_create1(EPOLL_CLOEXEC); });
    if (!poll.valid())
        return fail_errno("cannot create an epoll descriptor");
    epoll_event event{.events = EPOLLOUT, .data = {}};
    if (::epoll_ctl(poll.get(), EPOLL_CTL_ADD, fd_.get(), &event) == 0)
        poll_ = std::move(poll);
    retry_ = host::descriptor([] { return ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); });
    return retry_.valid() ? Result<>() : fail_errno("cannot create a timer");
}

std::size_t OutputSink::write(std::span<const std::byte> bytes) {
    if (!fd_.valid() || bytes.empty())
        return bytes.size();
    ssize_t written = -1;
    do {
        written = is_socket_ ? ::send(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL)
                             : ::write(fd_.get(), bytes.data(), bytes.size());
    } while (written < 0 && errno == EINTR);
    if (written >= 0) {
        if (std::exchange(failing_, false))
            log::info("console output to {} goes on", name_);
        return static_cast<std::size_t>(written);
    }
    const int code = errno;
    if (code == EAGAIN && poll_.valid() && !failing_)
        return 0;
    if (!is_gone(code) && try_later(code))
        return 0;
    log::warning("console output to {} ends here: {}", name_, describe_errno(code));
    fd_.close();
    return bytes.size();
}

/// Returns whether the sink is gone. A named file is where it was told to be: a full disk gets room, a file system
/// comes back. Of a terminal or a pipe that its other end has closed nothing comes back.
bool OutputSink::is_gone(int code) const {
    if (code == EBADF)
        return true;
    return !is_file_ && (code == EPIPE || code == ECONNRESET || code == ENOTCONN || code == EIO || code == ENXIO);
}

bool OutputSink::try_later(int code) {
    if (!std::exchange(failing_, true))
        log::warning(
            "cannot write the console's output to {}: {}; it waits, and the oldest is dropped when there is too much",
            name_, describe_errno(code));
    const itimerspec in_a_while{.it_interval = {}, .it_value = {.tv_sec = retry_after.count(), .tv_nsec = 0}};
    return ::timerfd_settime(retry_.get(), 0, &in_a_while, nullptr) == 0;
}

} // namespace aerate
