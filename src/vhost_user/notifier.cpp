#include "vhost_user/notifier.hpp"

#include "vhost_user/eventfd_signal.hpp"

#include <unistd.h>

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>

namespace aerate::vhost_user {
namespace {

bool is_eventfd(const FileDescriptor& fd) {
    // Eventfds, epolls, timers and many more are all anonymous inodes; only the name tells.
    std::array<char, 64> name{};
    const std::string link = fmt::format("/proc/self/fd/{}", fd.get());
    const ssize_t length = ::readlink(link.c_str(), name.data(), name.size());
    return length > 0 && std::string_view(name.data(), static_cast<std::size_t>(length)) == "anon_inode:[eventfd]";
}

} // namespace

/// Returns whether it is a unix socket: the locks of other sockets can be held by another process.
bool is_unix_socket(const FileDescriptor& fd) {
    int domain = 0;
    socklen_t size = sizeof domain;
    return ::getsockopt(fd.get(), SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

Result<Notifier> Notifier::of(FileDescriptor fd) {
    Notifier notifier;
    if (is_eventfd(fd))
        notifier.eventfd_ = TRY(EventfdSignal::get());
    else if (!is_unix_socket(fd))
        return fail("a ring's interrupts go to an eventfd or a unix socket, and this is neither");
    notifier.fd_ = std::move(fd);
    return notifier;
}

void Notifier::signal() const {
    const std::uint64_t one = 1;
    if (!fd_.valid())
        return;
    if (eventfd_ != nullptr)
        eventfd_->send(fd_.get());
    else
        (void)!::send(fd_.get(), &one, sizeof one, MSG_DONTWAIT | MSG_NOSIGNAL);
}

Result<Kick> Kick::of(FileDescriptor fd) {
    if (!is_eventfd(fd))
        return fail("a ring's kicks come by an eventfd, and this is not one");
    Kick kick;
    kick.fd_ = std::move(fd);
    return kick;
}

bool Kick::drain() const {
    std::uint64_t count = 0;
    const iovec into{.iov_base = &count, .iov_len = sizeof count};
    // Another offset than -1 is an error: an eventfd has no position.
    const ssize_t taken = ::preadv2(fd_.get(), &into, 1, -1, RWF_NOWAIT);
    return taken > 0 || (taken < 0 && (errno == EAGAIN || errno == EINTR));
}

} // namespace aerate::vhost_user
