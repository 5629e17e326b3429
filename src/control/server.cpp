#include "control/server.hpp"

#include "base/host.hpp"
#include "base/log.hpp"
#include "base/peer.hpp"
#include "control/connection.hpp"
#include "control/listening_socket.hpp"
#include "control/reply.hpp"
#include "event/acceptor.hpp"

#include <unistd.h>

#include <sys/socket.h>

#include <exception>
#include <set>
#include <system_error>
#include <variant>

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
    Impl(EventLoop& event_loop, UnixListener listening, std::variant<Handler, Routes> handler,
         const ServerLimits& bounds)
        : ConnectionOwner(std::move(handler))
        , loop(event_loop)
        , socket(std::move(listening))
        , limits(bounds)
        , acceptor(event_loop, socket.fd(), [this](FileDescriptor peer) { accepted(std::move(peer)); }) {}

    void accepted(FileDescriptor peer) {
        const auto credentials = peer_credentials(peer.get());
        if (!credentials || !is_trusted_user(credentials->uid, ::geteuid())) {
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
            if (host::refuses(host::Resource::watch))
                throw std::system_error(errno, std::generic_category());
            start_connection(loop, std::move(peer), owner, limits);
        } catch (const std::exception& refused) { // the loop can watch no more descriptors
            static log::GuestLogLimit limit;
            if (limit.allow())
                log::warning("control: cannot serve a connection: {}", refused.what());
        }
    }

    void added(ConnectionHandle& connection) override { connections.insert(&connection); }
    void removed(ConnectionHandle& connection) override { connections.erase(&connection); }
    [[nodiscard]] bool takes_listener() const override { return listeners.size() < limits.listeners; }
    void listener_added(ConnectionHandle& listener) override { listeners.insert(&listener); }
    void listener_removed(ConnectionHandle& listener) override { listeners.erase(&listener); }

    EventLoop& loop;
    UnixListener socket;
    ServerLimits limits;
    std::weak_ptr<ConnectionOwner> owner;
    std::set<ConnectionHandle*> connections;
    std::set<ConnectionHandle*> listeners;
    Acceptor acceptor;
};

Result<Server> Server::create(EventLoop& loop, const std::filesystem::path& socket, Handler handler,
                              const ServerLimits& limits, SocketPlace place) {
    auto impl = std::make_shared<Impl>(loop, TRY(listen_for_requests(socket, place)), std::move(handler), limits);
    impl->owner = impl;
    TRY(impl->acceptor.start());
    return Server(std::move(impl));
}

Result<Server> Server::create(EventLoop& loop, const std::filesystem::path& socket, Routes answers) {
    auto impl = std::make_shared<Impl>(loop, TRY(listen_for_requests(socket)), std::move(answers), ServerLimits{});
    impl->owner = impl;
    TRY(impl->acceptor.start());
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
    for (const auto& open : {impl_->connections, impl_->listeners})
        for (ConnectionHandle* connection : open)
            connection->close();
}

} // namespace aerate::control
