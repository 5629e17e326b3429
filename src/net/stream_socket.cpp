#include "net/stream_socket.hpp"

#include "base/endian.hpp"

#include <fcntl.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

namespace aerate::net {
namespace {

std::array<std::byte, 4> network_order(std::uint32_t value) {
    std::array<std::byte, 4> bytes{};
    store_little_endian(std::span<std::byte>(bytes), std::byteswap(value));
    return bytes;
}

} // namespace

Result<std::shared_ptr<StreamSocket>> StreamSocket::adopt(FileDescriptor fd, std::string label) {
    int type = 0;
    socklen_t size = sizeof type;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM)
        return fail("{}: descriptor {} must be a tap's or that of a connected stream socket", label, fd.get());
    if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) < 0 || ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) < 0)
        return fail_errno("{}: cannot prepare descriptor {}", label, fd.get());
    FileDescriptor for_writing = host::descriptor([&] { return ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0); });
    if (!for_writing.valid())
        return fail_errno("{}: cannot duplicate descriptor {}", label, fd.get());
    auto buffer = host::zeroed<std::byte>(buffer_size);
    if (!buffer)
        return fail_errno("{}: cannot have a buffer", label);
    return std::shared_ptr<StreamSocket>(
        new StreamSocket(std::move(fd), std::move(for_writing), std::move(label), std::move(buffer)));
}

Received StreamSocket::receive(std::span<const iovec> pieces) {
    std::span<const std::byte> frame;
    for (;;) {
        frame = next_frame();
        if (lost_)
            return {Outcome::gone, 0};
        if (!frame.empty())
            break;
        if (const auto outcome = read_more(); outcome != Outcome::done)
            return {outcome, 0};
    }

    constexpr std::array<std::byte, header::size> no_header{};
    std::span<const std::byte> from(no_header);
    std::size_t written = 0;
    for (const iovec& piece : pieces) {
        std::span into(static_cast<std::byte*>(piece.iov_base), piece.iov_len);
        while (!into.empty() && !from.empty()) {
            const std::size_t length = std::min(into.size(), from.size());
            std::memcpy(into.data(), from.data(), length);
            into = into.subspan(length);
            from = from.subspan(length);
            written += length;
            if (from.empty())
                from = std::exchange(frame, {});
        }
    }
    return {Outcome::done, written};
}

std::span<const std::byte> StreamSocket::next_frame() {
    for (;;) {
        const auto came = std::span<const std::byte>(buffer_.get(), end_).subspan(begin_);
        if (came.size() < length_size)
            return {};
        const std::uint32_t length = std::byteswap(load_little_endian<std::uint32_t>(came));
        if (length > frame_max) {
            (void)lose();
            return {};
        }
        if (came.size() - length_size < length)
            return {};
        begin_ += length_size + length;
        if (length > 0)
            return came.subspan(length_size, length);
    }
}

// What is left of a frame moves to the front: there is always room for the rest of it.
Outcome StreamSocket::read_more() {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    for (;;) {
        const ssize_t got = ::recv(fd_.get(), buffer_.get() + end_, buffer_size - end_, 0);
        if (got > 0) {
            end_ += static_cast<std::size_t>(got);
            return Outcome::done;
        }
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return Outcome::later;
        return lose(); // a frame that its end has cut short is none
    }
}

Outcome StreamSocket::send(std::span<const iovec> pieces) {
    if (const auto sent = flush(); sent != Outcome::done)
        return sent;
    const std::size_t size = size_of(pieces);
    if (size <= header::size || size - header::size > frame_max)
        return Outcome::dropped;
    auto length = network_order(static_cast<std::uint32_t>(size - header::size));
    pieces_.assign(1, {length.data(), length.size()});
    std::size_t skip = header::size;
    for (const iovec& piece : pieces) {
        const std::size_t skipped = std::min(skip, piece.iov_len);
        skip -= skipped;
        if (skipped < piece.iov_len)
            pieces_.push_back({static_cast<std::byte*>(piece.iov_base) + skipped, piece.iov_len - skipped});
    }
    msghdr message{};
    message.msg_iov = pieces_.data();
    message.msg_iovlen = std::min(pieces_.size(), iovecs_max);
    ssize_t sent = -1;
    do
        sent = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return errno == EAGAIN || errno == ENOBUFS ? Outcome::later : lose();
    // The frame has begun, so its rest goes before any other.
    auto gone = static_cast<std::size_t>(sent);
    for (const iovec& piece : pieces_) {
        const std::size_t done = std::min(gone, piece.iov_len);
        gone -= done;
        const auto* const bytes = static_cast<const std::byte*>(piece.iov_base);
        rest_.insert(rest_.end(), bytes + done, bytes + piece.iov_len);
    }
    return Outcome::done;
}

Outcome StreamSocket::flush() {
    while (!rest_.empty() && !lost_) {
        const ssize_t sent = ::send(fd_.get(), rest_.data(), rest_.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN || errno == ENOBUFS ? Outcome::later : lose();
        rest_.erase(rest_.begin(), rest_.begin() + sent);
    }
    return lost_ ? Outcome::gone : Outcome::done;
}

Outcome StreamSocket::lose() {
    lost_ = true;
    return Outcome::gone;
}

} // namespace aerate::net
