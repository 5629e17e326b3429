// Where the other side of a migration is: "tcp:ADDRESS:PORT" or "unix:PATH".
//
//     const Endpoint there = TRY(Endpoint::parse("tcp:192.0.2.7:4444"));
//     FileDescriptor socket = TRY(connect_to(there, std::chrono::seconds(10), &interrupt));
//
// Addresses are numbers, IPv6 in brackets: a monitor that is one static file can ask no resolver.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "event/event_fd.hpp"

#include <sys/socket.h>

#include <chrono>
#include <string>
#include <string_view>

namespace aerate::migration {

class Endpoint {
public:
    [[nodiscard]] static Result<Endpoint> parse(std::string_view text);

    [[nodiscard]] const std::string& text() const { return text_; }
    [[nodiscard]] bool is_unix() const { return address_.ss_family == AF_UNIX; }
    /// What is said there may cross a network.
    [[nodiscard]] bool leaves_this_machine() const;
    [[nodiscard]] const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }
    [[nodiscard]] socklen_t length() const { return length_; }
    /// Of a unix endpoint.
    [[nodiscard]] std::string path() const;

private:
    [[nodiscard]] static Result<Endpoint> parse_unix(std::string_view text);
    [[nodiscard]] static Result<Endpoint> parse_tcp(std::string_view text);

    std::string text_;
    sockaddr_storage address_{};
    socklen_t length_ = 0;
};

/// Waits, but no longer than the limit, nor when `interrupt` is signalled (interrupted_error).
[[nodiscard]] Result<FileDescriptor> connect_to(const Endpoint&, std::chrono::milliseconds limit,
                                                const EventFd* interrupt = nullptr);

/// Who is at the other end, for people: "192.0.2.7:40000", or the process on this machine.
[[nodiscard]] std::string peer_of(const FileDescriptor& socket);

/// Accepts connections. A unix socket's file is made for its owner alone, and removed in the end.
class Listener {
public:
    [[nodiscard]] static Result<Listener> open(const Endpoint&);
    Listener(Listener&&) noexcept;
    Listener& operator=(Listener&&) = delete;
    ~Listener();

    /// Readable when somebody waits.
    [[nodiscard]] int fd() const { return socket_.get(); }
    /// REQUIRES: fd() is readable. An error when whoever it was has gone, or, on a unix socket, is another user.
    [[nodiscard]] Result<FileDescriptor> accept();
    /// "tcp:127.0.0.1:41234", also when port 0 was asked for.
    [[nodiscard]] std::string where() const;

private:
    Listener(FileDescriptor socket, Endpoint endpoint)
        : socket_(std::move(socket))
        , endpoint_(std::move(endpoint)) {}
    FileDescriptor socket_;
    Endpoint endpoint_;
};

} // namespace aerate::migration
