#include "migration/link/channel.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <limits>

namespace aerate::migration {
namespace {

bool would_block(int code) {
    return code == EAGAIN || code == EWOULDBLOCK;
}

} // namespace

SocketChannel::SocketChannel(FileDescriptor socket, const EventFd& interrupt)
    : socket_(std::move(socket))
    , interrupt_(interrupt) {
    // Not for Unix sockets, which need neither.
    const int one = 1;
    (void)::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

Result<> SocketChannel::wait(short events, Clock::time_point until, std::chrono::milliseconds limit) {
    for (;;) {
        const auto start = Clock::now();
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - start);
        if (left.count() <= 0)
            return std::unexpected(
                Error{fmt::format("the other side does not keep up: nothing moved within {} ms", limit.count()),
                      timeout_error});
        std::array<pollfd, 2> fds{pollfd{socket_.get(), events, 0},
                                  pollfd{heeds_interrupts_ ? interrupt_.fd() : -1, POLLIN, 0}};
        const auto patience = std::min<std::int64_t>(left.count(), std::numeric_limits<int>::max());
        if (::poll(fds.data(), fds.size(), static_cast<int>(patience)) < 0 && errno != EINTR)
            return fail_errno("cannot wait for the migration's socket");
        if (events == POLLOUT)
            waited_ += Clock::now() - start;
        if (fds[1].revents != 0)
            return std::unexpected(Error{"the migration was cancelled", interrupted_error});
        if (fds[0].revents != 0)
            return {};
    }
}

Result<> SocketChannel::wait_for_more() {
    constexpr std::chrono::hours ever{24 * 365};
    return wait(POLLIN, Clock::now() + ever, ever);
}

Result<> SocketChannel::send(std::span<const std::byte> bytes, std::chrono::milliseconds limit) {
    const auto until = Clock::now() + limit;
    while (!bytes.empty()) {
        const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
            bytes = bytes.subspan(static_cast<std::size_t>(sent));
        else if (would_block(errno))
            TRY(wait(POLLOUT, until, limit));
        else if (errno != EINTR)
            return fail_errno("the other side is gone");
    }
    return {};
}

Result<std::size_t> SocketChannel::receive_until(std::span<std::byte> into, Clock::time_point until,
                                                 std::chrono::milliseconds limit) {
    for (;;) {
        const ssize_t received = ::recv(socket_.get(), into.data(), into.size(), MSG_DONTWAIT);
        if (received >= 0)
            return static_cast<std::size_t>(received);
        if (would_block(errno))
            TRY(wait(POLLIN, until, limit));
        else if (errno != EINTR)
            return fail_errno("the connection to the other side broke");
    }
}

Result<std::size_t> SocketChannel::receive_some(std::span<std::byte> into, std::chrono::milliseconds limit) {
    return receive_until(into, Clock::now() + limit, limit);
}

Result<> SocketChannel::receive(std::span<std::byte> into, std::chrono::milliseconds limit) {
    const auto until = Clock::now() + limit;
    while (!into.empty()) {
        const std::size_t received = TRY(receive_until(into, until, limit));
        if (received == 0)
            return std::unexpected(Error{"the other side has closed the connection", ECONNRESET});
        into = into.subspan(received);
    }
    return {};
}

void SocketChannel::finish(std::chrono::milliseconds limit) {
    (void)::shutdown(socket_.get(), SHUT_WR);
    const auto until = Clock::now() + limit;
    std::array<std::byte, 4096> dropped;
    for (;;) {
        const ssize_t received = ::recv(socket_.get(), dropped.data(), dropped.size(), MSG_DONTWAIT);
        if (received == 0 || (received < 0 && !would_block(errno)))
            return;
        if (Clock::now() >= until || (received < 0 && !wait(POLLIN, until, limit)))
            return;
    }
}

} // namespace aerate::migration
