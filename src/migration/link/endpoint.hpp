// Where the other side of a migration is: "tcp:ADDRESS:PORT" or "unix:PATH".
//
//     const Endpoint there = TRY(Endpoint::parse("tcp:192.0.2.7:4444"));
//     FileDescriptor socket = TRY(connect_to(there, std::chrono::seconds(10), &interrupt));
//
// Addresses are numbers, IPv6 in brackets: a monitor that is one static file can ask no resolver.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/unix_listener.hpp"
#include "event/event_fd.hpp"

#include <sys/socket.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace aerate::migration {

class Endpoint {
public:
    [[nodiscard]] static Result<Endpoint> parse(std::string_view text);

    [[nodiscard]] const std::string& text() const { return text_; }
    [[nodiscard]] bool is_unix() const { return address_.ss_family == AF_UNIX; }
    [[nodiscard]] const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }
    [[nodiscard]] socklen_t length() const { return length_; }
    /// REQUIRES: is_unix().
    [[nodiscard]] std::string path() const;

private:
    [[nodiscard]] static Result<Endpoint> parse_unix(std::string_view text);
    [[nodiscard]] static Result<Endpoint> parse_tcp(std::string_view text);

    std::string text_;
    sockaddr_storage address_{};
    socklen_t length_ = 0;
};

/// Waits, but no longer than the limit, nor when `interrupt` is signalled (interrupted_error). Fails if another user
/// than ours or root listens at a unix path: nothing has been said to them by then.
[[nodiscard]] Result<FileDescriptor> connect_to(const Endpoint&, std::chrono::milliseconds limit,
                                                const EventFd* interrupt = nullptr);

/// Describes for people who is at the other end: "192.0.2.7:40000", "process 17 of user 1000".
[[nodiscard]] std::string peer_of(const FileDescriptor& socket);

/// Accepts connections. A unix socket's file is for its owner alone, and is removed in the end.
class Listener {
public:
    [[nodiscard]] static Result<Listener> open(const Endpoint&);

    /// Returns a descriptor that is readable when a connection waits to be accepted.
    [[nodiscard]] int fd() const { return socket_.get(); }
    /// REQUIRES: fd() is readable. Fails if the peer has gone or, on a unix socket, is neither our user nor root.
    [[nodiscard]] Result<FileDescriptor> accept();
    /// Returns the address with the port that the system chose for 0: "tcp:127.0.0.1:41234".
    [[nodiscard]] std::string where() const;

private:
    Listener(FileDescriptor socket, Endpoint endpoint)
        : socket_(std::move(socket))
        , endpoint_(std::move(endpoint)) {}
    FileDescriptor socket_;
    Endpoint endpoint_;
    std::optional<SocketFile> file_; ///< of a unix socket
};

} // namespace aerate::migration
