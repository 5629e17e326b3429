#include "vhost_user/message_socket.hpp"

#include <fcntl.h>

#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace aerate::vhost_user {
namespace {

/// One descriptor more than any message has, so that too many are noticed; the kernel closes what does not fit.
constexpr std::size_t fds_received_max = message_fds_max + 1;

/// Returns false if the control data were cut, because of too many descriptors or because this process can have no
/// more.
bool take_fds(msghdr& message, std::vector<FileDescriptor>& into) {
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
            into.emplace_back(fd);
        }
    }
    return (message.msg_flags & MSG_CTRUNC) == 0;
}

} // namespace

MessageSocket::MessageSocket(FileDescriptor fd)
    : fd_(std::move(fd)) {
    ::fcntl(fd_.get(), F_SETFL, ::fcntl(fd_.get(), F_GETFL) | O_NONBLOCK);
}

Result<std::optional<Message>> MessageSocket::receive() {
    if (received_ < header_.size()) {
        if (!TRY(fill(header_)))
            return std::nullopt;
        TRY(check_header());
        Header header;
        std::memcpy(&header, header_.data(), sizeof header);
        message_.request = RequestCode{header.request};
        message_.need_reply = (header.flags & header_flag::need_reply) != 0;
        message_.payload.resize(header.size);
    }
    if (!TRY(fill(message_.payload)))
        return std::nullopt;
    received_ = 0;
    return std::exchange(message_, {});
}

Result<> MessageSocket::check_header() const {
    Header header;
    std::memcpy(&header, header_.data(), sizeof header);
    if ((header.flags & header_flag::version_mask) != header_flag::version)
        return fail("the front-end speaks version {} of vhost-user, this back end speaks version 1",
                    header.flags & header_flag::version_mask);
    if ((header.flags & header_flag::reply) != 0 || (header.flags & ~header_flag::all) != 0)
        return fail("request {} has flags {:#x} that no request has", header.request, header.flags);
    if (header.size > payload_max)
        return fail("request {} of {} bytes: none has more than {}", header.request, header.size, payload_max);
    return {};
}

/// Reads what is missing of `wanted`, header or payload. False: that is not all here yet.
Result<bool> MessageSocket::fill(std::span<std::byte> wanted) {
    const bool is_header = wanted.data() == header_.data();
    std::size_t before = received_ - (is_header ? 0 : header_.size());
    while (before < wanted.size()) {
        iovec bytes{.iov_base = wanted.data() + before, .iov_len = wanted.size() - before};
        alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(fds_received_max * sizeof(int))> control;
        msghdr received{};
        received.msg_iov = &bytes;
        received.msg_iovlen = 1;
        received.msg_control = control.data();
        received.msg_controllen = control.size();
        const ssize_t count = ::recvmsg(fd_.get(), &received, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return false;
        if (count < 0)
            return fail_errno("cannot receive from the front-end");
        const bool complete = take_fds(received, message_.fds);
        if (count == 0)
            return fail("the front-end closed the connection{}", received_ > 0 ? " in the middle of a message" : "");
        if (!complete || message_.fds.size() > message_fds_max)
            return fail("a message came with more file descriptors than any has, or than this process can open");
        before += static_cast<std::size_t>(count);
        received_ += static_cast<std::size_t>(count);
    }
    return true;
}

Result<> MessageSocket::reply(RequestCode request, std::span<const std::byte> payload, int fd) {
    const Header header{.request = static_cast<std::uint32_t>(request),
                        .flags = header_flag::version | header_flag::reply,
                        .size = static_cast<std::uint32_t>(payload.size())};
    if (!send_message(fd_.get(), header, payload, fd))
        return fail_errno("cannot answer the front-end");
    return {};
}

bool send_message(int socket, const Header& header, std::span<const std::byte> payload, int fd) {
    std::array<std::byte, sizeof(Header) + payload_max> bytes;
    std::memcpy(bytes.data(), &header, sizeof header);
    std::ranges::copy(payload, bytes.begin() + sizeof header);
    const std::size_t length = sizeof header + payload.size();
    iovec whole{.iov_base = bytes.data(), .iov_len = length};
    msghdr message{};
    message.msg_iov = &whole;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
    if (fd >= 0) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* const part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(part), &fd, sizeof fd);
    }
    const ssize_t sent = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0 && static_cast<std::size_t>(sent) < length)
        errno = EAGAIN; // a stream that is cut in the middle of a message is of no more use
    return sent == static_cast<ssize_t>(length);
}

} // namespace aerate::vhost_user
