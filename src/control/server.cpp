#include "control/server.hpp"

#include "base/log.hpp"
#include "control/connection.hpp"
#include "control/listening_socket.hpp"
#include "control/peer.hpp"
#include "control/reply.hpp"

#include <unistd.h>

#include <sys/socket.h>

#include <exception>
#include <set>

namespace aerate::control {
namespace {

/// Turns a caller away before it is a connection: one attempt to tell it why, never waiting for it.
void turn_away(const FileDescriptor& peer, std::string_view status_line, unsigned status, std::string_view reason) {
    const HttpReply reply = print_reply(Failure{status, std::string(reason)});
    const std::string text =
        fmt::format("HTTP/1.1 {}\r\nConnection: close\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{}", status_line,
                    reply.content_type, reply.body.size(), reply.body);
    // A peer that has gone is no loss.
    (void)!::send(peer.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

} // namespace

struct Server::Impl final : ConnectionOwner {
    Impl(EventLoop& event_loop, ListeningSocket listening, Handler h, const ServerLimits& bounds)
        : loop(event_loop)
        , socket(std::move(listening))
        , handler(std::move(h))
        , limits(bounds) {}

    Result<> watch() {
        acceptable = TRY(loop.try_watch(socket.fd(), [this] { accept(); }));
        return {};
    }

    void watch_later() {
        acceptable.cancel();
        retry = loop.after(std::chrono::milliseconds(100), [this] {
            if (!watch())
                watch_later();
        });
    }

    void accept() {
        FileDescriptor peer(::accept4(socket.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!peer.valid()) {
            // Out of descriptors: the socket stays readable, so look again later rather than at once.
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                watch_later();
            return;
        }
        const auto credentials = peer_credentials(peer.get());
        if (!credentials || !may_connect(credentials->uid, ::geteuid())) {
            static log::GuestLogLimit limit;
            if (limit.allow())
                log::warning("control: refused a connection of user {}, process {}",
                             credentials ? static_cast<long>(credentials->uid) : -1,
                             credentials ? credentials->pid : 0);
            return turn_away(peer, "403 Forbidden", 403, "only the monitor's own user and root may connect");
        }
        if (connections.size() >= limits.connections)
            return turn_away(peer, "503 Service Unavailable", 503, "too many connections");
        try {
            start_connection(loop, std::move(peer), owner, limits);
        } catch (const std::exception& refused) { // the loop can watch no more descriptors
            static log::GuestLogLimit limit;
            if (limit.allow())
                log::warning("control: cannot serve a connection: {}", refused.what());
        }
    }

    void added(ConnectionHandle& connection) override { connections.insert(&connection); }
    void removed(ConnectionHandle& connection) override { connections.erase(&connection); }
    void handle(Request request, Answer answer) override { handler(std::move(request), std::move(answer)); }

    EventLoop& loop;
    ListeningSocket socket;
    Handler handler;
    ServerLimits limits;
    std::weak_ptr<ConnectionOwner> owner;
    std::set<ConnectionHandle*> connections;
    Subscription acceptable;
    Subscription retry;
};

Result<Server> Server::create(EventLoop& loop, const std::filesystem::path& socket, Handler handler,
                              const ServerLimits& limits) {
    auto impl = std::make_shared<Impl>(loop, TRY(ListeningSocket::create(socket)), std::move(handler), limits);
    impl->owner = impl;
    TRY(impl->watch());
    return Server(std::move(impl));
}

Server::Server(std::shared_ptr<Impl> impl)
    : impl_(std::move(impl)) {}
Server::Server(Server&&) noexcept = default;
Server& Server::operator=(Server&&) noexcept = default;

Server::~Server() {
    if (!impl_)
        return;
    // Closing ends a connection's waits, and with the last of them the connection; it may take itself out of the set.
    const auto open = impl_->connections;
    for (ConnectionHandle* connection : open)
        connection->close();
}

} // namespace aerate::control
