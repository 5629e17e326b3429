#include "vhost_user/notifier.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>

namespace aerate::vhost_user {
namespace {

enum class WakeKind : std::uint8_t { eventfd, socket, pipe };

Result<WakeKind> wake_kind_of(const FileDescriptor& fd) {
    struct stat status{};
    if (::fstat(fd.get(), &status) != 0)
        return fail_errno("cannot examine a ring's file descriptor");
    if (S_ISSOCK(status.st_mode))
        return WakeKind::socket;
    if (S_ISFIFO(status.st_mode))
        return WakeKind::pipe;
    // Eventfds, epolls, timers and many more are all anonymous inodes; only the name tells.
    std::array<char, 64> name{};
    const std::string link = fmt::format("/proc/self/fd/{}", fd.get());
    const ssize_t length = ::readlink(link.c_str(), name.data(), name.size());
    if (length > 0 && std::string_view(name.data(), static_cast<std::size_t>(length)) == "anon_inode:[eventfd]")
        return WakeKind::eventfd;
    return fail("a ring's file descriptor is neither an eventfd nor a socket");
}

void set_non_blocking(const FileDescriptor& fd) {
    ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

} // namespace

Result<Notifier> Notifier::of(FileDescriptor fd) {
    const WakeKind kind = TRY(wake_kind_of(fd));
    if (kind == WakeKind::pipe)
        return fail("a pipe cannot take a ring's interrupts: give an eventfd or a socket");
    set_non_blocking(fd);
    Notifier notifier;
    notifier.fd_ = std::move(fd);
    notifier.is_socket_ = kind == WakeKind::socket;
    return notifier;
}

void Notifier::signal() const {
    if (!fd_.valid())
        return;
    const std::uint64_t one = 1;
    if (is_socket_)
        (void)!::send(fd_.get(), &one, sizeof one, MSG_DONTWAIT | MSG_NOSIGNAL);
    else
        (void)!::write(fd_.get(), &one, sizeof one);
}

Result<Kick> Kick::of(FileDescriptor fd) {
    TRY(wake_kind_of(fd));
    set_non_blocking(fd);
    Kick kick;
    kick.fd_ = std::move(fd);
    return kick;
}

bool Kick::drain() const {
    std::array<std::byte, 512> bytes;
    const ssize_t count = ::read(fd_.get(), bytes.data(), bytes.size());
    return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
}

} // namespace aerate::vhost_user
