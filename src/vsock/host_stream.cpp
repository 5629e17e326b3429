#include "vsock/host_stream.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace aerate::vsock {

void HostStream::happened(std::uint32_t events) {
    const bool over = (events & (EPOLLHUP | EPOLLERR)) != 0;
    hung_up_ |= over;
    readable_ |= over || (events & (EPOLLIN | EPOLLRDHUP)) != 0;
    writable_ |= over || (events & EPOLLOUT) != 0;
}

HostStream::Read HostStream::read(std::span<const iovec> into) {
    ssize_t got = 0;
    do
        got = ::readv(fd_.get(), into.data(), static_cast<int>(into.size()));
    while (got < 0 && errno == EINTR);
    if (got > 0)
        return {Read::Kind::data, static_cast<std::size_t>(got)};
    readable_ = false;
    if (got == 0)
        return {Read::Kind::end};
    return {errno == EAGAIN ? Read::Kind::nothing : Read::Kind::failed};
}

std::optional<std::size_t> HostStream::send(std::span<const iovec> bytes) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(bytes.data()); // NOLINT: sendmsg() does not write there
    message.msg_iovlen = bytes.size();
    ssize_t sent = 0;
    do
        sent = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return static_cast<std::size_t>(sent);
    writable_ = false;
    if (errno == EAGAIN)
        return 0;
    takes_more_ = false;
    pending_.clear();
    sent_ = 0;
    return std::nullopt;
}

std::optional<std::size_t> HostStream::write(std::span<const iovec> bytes) {
    std::size_t taken = 0;
    if (pending() == 0 && writable_) {
        const auto sent = send(bytes);
        if (!sent)
            return std::nullopt;
        taken = *sent;
    }
    // The credit bounds what is pending, and this what was.
    constexpr std::size_t worth_moving = 64U << 10;
    if (sent_ >= worth_moving) {
        pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(sent_));
        sent_ = 0;
    }
    std::size_t skip = taken;
    for (const iovec& piece : bytes) {
        const std::size_t begin = std::min(skip, piece.iov_len);
        skip -= begin;
        const auto* const start = static_cast<const std::byte*>(piece.iov_base);
        pending_.insert(pending_.end(), start + begin, start + piece.iov_len);
    }
    // A short write has filled the socket; the edge to come is that of its being read.
    if (pending() > 0)
        writable_ = false;
    return taken;
}

std::optional<std::size_t> HostStream::write(std::string_view text) {
    const iovec piece{const_cast<char*>(text.data()), text.size()}; // NOLINT: nobody writes there
    return write(std::span(&piece, 1));
}

std::optional<std::size_t> HostStream::flush() {
    if (pending() == 0)
        return 0;
    const iovec rest{pending_.data() + sent_, pending()};
    const auto sent = send(std::span(&rest, 1));
    if (!sent)
        return std::nullopt;
    sent_ += *sent;
    if (pending() > 0) {
        writable_ = false;
        return sent;
    }
    // Most connections keep nothing most of the time.
    std::exchange(pending_, {});
    sent_ = 0;
    return sent;
}

void HostStream::shut_writing() {
    if (!std::exchange(writing_shut_, true))
        ::shutdown(fd_.get(), SHUT_WR);
}

void HostStream::shut_reading() {
    if (!std::exchange(reading_shut_, true))
        ::shutdown(fd_.get(), SHUT_RD);
}

} // namespace aerate::vsock
