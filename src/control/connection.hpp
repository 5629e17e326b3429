// One HTTP connection to the control interface: requests one after the other, pipelined ones in order.
#pragma once

#include "base/fd.hpp"
#include "control/server.hpp"

#include <memory>
#include <utility>
#include <variant>

namespace aerate::control {

class ConnectionHandle {
public:
    virtual void close() = 0;

protected:
    ~ConnectionHandle() = default;
};

/// What a connection needs of its server, which may go first.
class ConnectionOwner {
public:
    explicit ConnectionOwner(std::variant<Server::Handler, Server::Routes> handler)
        : handler_(std::move(handler)) {}
    virtual ~ConnectionOwner() = default;
    virtual void added(ConnectionHandle&) = 0;
    virtual void removed(ConnectionHandle&) = 0;
    /// Listeners to events are counted for themselves.
    [[nodiscard]] virtual bool takes_listener() const = 0;
    virtual void listener_added(ConnectionHandle&) = 0;
    virtual void listener_removed(ConnectionHandle&) = 0;
    void handle(Request request, Server::Answer answer) {
        std::get<Server::Handler>(handler_)(std::move(request), std::move(answer));
    }
    /// Returns nothing if the paths are a VM's: then route() knows them.
    [[nodiscard]] const Server::Routes* routes() const { return std::get_if<Server::Routes>(&handler_); }

private:
    std::variant<Server::Handler, Server::Routes> handler_;
};

/// Serves `peer` until either side closes it. The connection keeps itself alive.
void start_connection(EventLoop&, FileDescriptor peer, std::weak_ptr<ConnectionOwner>, const ServerLimits&);

} // namespace aerate::control
