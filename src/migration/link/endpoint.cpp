#include "migration/link/endpoint.hpp"

#include "base/host.hpp"
#include "base/peer.hpp"
#include "base/unix_socket.hpp"
#include "migration/link/channel.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <sys/un.h>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstring>

namespace aerate::migration {
namespace {

constexpr std::string_view unix_prefix = "unix:";
constexpr std::string_view tcp_prefix = "tcp:";

/// Sets TCP_NODELAY: frames are written whole, so waiting to fill a segment would only add to the downtime. A peer that
/// is gone without a word is noticed by the deadlines of the protocol.
void tune(const FileDescriptor& socket) {
    const int on = 1;
    (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Result<FileDescriptor> make_socket(const Endpoint& endpoint) {
    FileDescriptor socket = host::descriptor(
        [&] { return ::socket(endpoint.address()->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); });
    if (!socket.valid())
        return fail_errno("cannot create a socket for {}", endpoint.text());
    return socket;
}

/// Returns "192.0.2.7:4444", "[2001:db8::7]:4444".
std::string text_of(const sockaddr_storage& address) {
    std::array<char, INET6_ADDRSTRLEN> host{};
    if (address.ss_family == AF_INET) {
        const auto& four = reinterpret_cast<const sockaddr_in&>(address);
        ::inet_ntop(AF_INET, &four.sin_addr, host.data(), host.size());
        return fmt::format("{}:{}", host.data(), ntohs(four.sin_port));
    }
    const auto& six = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &six.sin6_addr, host.data(), host.size());
    return fmt::format("[{}]:{}", host.data(), ntohs(six.sin6_port));
}

/// Fails unless the peer of a unix socket is our own user or root. A path does not tell which process listens there,
/// and a directory in which others may bind lets anybody come first.
Result<> check_user(const FileDescriptor& socket, const Endpoint& endpoint, std::string_view what_it_does) {
    const auto peer = peer_credentials(socket.get());
    if (!peer)
        return fail_errno("cannot determine who {} {}", what_it_does, endpoint.text());
    if (is_trusted_user(peer->uid, ::geteuid()))
        return {};
    return fail("user {} {} {}, and no VM is moved to or from another user there: only user {} and root may be at the "
                "other end of a unix socket. A tcp address with the same --psk on both sides moves a VM between users",
                peer->uid, what_it_does, endpoint.text(), ::geteuid());
}

} // namespace

Result<Endpoint> Endpoint::parse(std::string_view text) {
    if (text.starts_with(unix_prefix))
        return parse_unix(text);
    if (text.starts_with(tcp_prefix))
        return parse_tcp(text);
    return fail("{}: an address is tcp:ADDRESS:PORT or unix:PATH", text);
}

Result<Endpoint> Endpoint::parse_unix(std::string_view text) {
    const auto address = unix_address(std::string(text.substr(unix_prefix.size())));
    if (!address)
        return fail_because(std::move(address).error(), "{}", text);
    Endpoint endpoint;
    endpoint.text_ = text;
    std::memcpy(&endpoint.address_, &*address, sizeof *address);
    endpoint.length_ = sizeof *address;
    return endpoint;
}

Result<Endpoint> Endpoint::parse_tcp(std::string_view text) {
    const std::string_view rest = text.substr(tcp_prefix.size());
    const auto colon = rest.rfind(':');
    if (colon == rest.npos)
        return fail("{}: the port is missing: tcp:ADDRESS:PORT", text);
    std::uint16_t port = 0;
    const std::string_view digits = rest.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size())
        return fail("{}: {} is not a port, which is a number up to 65535", text, digits);
    std::string host(rest.substr(0, colon));
    if (host == "localhost")
        host = "127.0.0.1";
    if (host.starts_with('[') && host.ends_with(']'))
        host = host.substr(1, host.size() - 2);

    Endpoint endpoint;
    endpoint.text_ = text;
    sockaddr_in four{};
    sockaddr_in6 six{};
    if (::inet_pton(AF_INET, host.c_str(), &four.sin_addr) == 1) {
        four.sin_family = AF_INET;
        four.sin_port = htons(port);
        std::memcpy(&endpoint.address_, &four, sizeof four);
        endpoint.length_ = sizeof four;
    } else if (::inet_pton(AF_INET6, host.c_str(), &six.sin6_addr) == 1) {
        six.sin6_family = AF_INET6;
        six.sin6_port = htons(port);
        std::memcpy(&endpoint.address_, &six, sizeof six);
        endpoint.length_ = sizeof six;
    } else {
        return fail("{}: {} is not a numeric address, such as 192.0.2.7 or [2001:db8::7]; \"getent hosts {}\" looks "
                    "a name up",
                    text, host, host);
    }
    return endpoint;
}

std::string Endpoint::path() const {
    sockaddr_un address{};
    std::memcpy(&address, &address_, sizeof address);
    return address.sun_path;
}

Result<FileDescriptor> connect_to(const Endpoint& endpoint, std::chrono::milliseconds limit, const EventFd* interrupt) {
    auto socket = TRY(make_socket(endpoint));
    int outcome = ::connect(socket.get(), endpoint.address(), endpoint.length());
    if (outcome != 0 && errno == EINPROGRESS) {
        std::array<pollfd, 2> waits{pollfd{socket.get(), POLLOUT, 0},
                                    pollfd{interrupt != nullptr ? interrupt->fd() : -1, POLLIN, 0}};
        int ready = 0;
        do
            ready = ::poll(waits.data(), waits.size(), static_cast<int>(limit.count()));
        while (ready < 0 && errno == EINTR);
        if (ready < 0)
            return fail_errno("cannot wait for a connection to {}", endpoint.text());
        if (ready == 0)
            return fail("cannot connect to {}: no answer within {} ms", endpoint.text(), limit.count());
        if (waits[1].revents != 0)
            return std::unexpected(Error{"the migration was cancelled", interrupted_error});
        socklen_t size = sizeof errno;
        int error = 0;
        (void)::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
        errno = error;
        outcome = error == 0 ? 0 : -1;
    }
    if (outcome != 0)
        return fail_errno("cannot connect to {}", endpoint.text());
    if (endpoint.is_unix())
        TRY(check_user(socket, endpoint, "listens at"));
    else
        tune(socket);
    return socket;
}

Result<Listener> Listener::open(const Endpoint& endpoint) {
    if (endpoint.is_unix()) {
        auto bound = UnixListener::bind(endpoint.path(), SocketAccess::own_user);
        if (!bound)
            return fail_because(std::move(bound).error(), "cannot listen at {}", endpoint.text());
        auto [socket, file] = std::move(*bound).take();
        Listener listener(std::move(socket), endpoint);
        listener.file_.emplace(std::move(file));
        return listener;
    }
    Listener listener(TRY(make_socket(endpoint)), endpoint);
    const int on = 1;
    (void)::setsockopt(listener.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(listener.fd(), endpoint.address(), endpoint.length()) != 0)
        return fail_errno("cannot listen at {}", endpoint.text());
    // The further streams of one migration come one after the other, faster than they are accepted.
    constexpr int backlog = 16;
    if (::listen(listener.fd(), backlog) != 0)
        return fail_errno("cannot listen at {}", endpoint.text());
    return listener;
}

Result<FileDescriptor> Listener::accept() {
    FileDescriptor socket = accept_connection(socket_.get());
    if (!socket.valid())
        return fail_errno("cannot accept a connection at {}", endpoint_.text());
    if (endpoint_.is_unix())
        TRY(check_user(socket, endpoint_, "connected to"));
    else
        tune(socket);
    return socket;
}

std::string Listener::where() const {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (endpoint_.is_unix() || ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
        return endpoint_.text();
    return "tcp:" + text_of(address);
}

std::string peer_of(const FileDescriptor& socket) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getpeername(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0 && address.ss_family != AF_UNIX)
        return text_of(address);
    if (const auto peer = peer_credentials(socket.get()))
        return fmt::format("process {} of user {}", peer->pid, peer->uid);
    return "an unknown peer";
}

} // namespace aerate::migration
