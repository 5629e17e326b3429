// One HTTP/1.1 connection of the page: requests one after the other, or events until either side ends it.
#pragma once

#include "base/fd.hpp"
#include "event/event_loop.hpp"
#include "web/desk.hpp"
#include "web/options.hpp"

#include <memory>
#include <string>

namespace boost::asio::ssl {
class context;
}

namespace aerate::web {

class Connection {
public:
    virtual ~Connection() = default;
    virtual void close() = 0;
    /// REQUIRES: it watches. While what it was offered before is still on its way, this is left out.
    virtual void offer(std::shared_ptr<const std::string> event) = 0;
    /// Returns whether a request came that had the token.
    [[nodiscard]] virtual bool is_known() const = 0;
};

/// What a connection needs of its server, which may go first.
class ConnectionOwner {
public:
    virtual ~ConnectionOwner() = default;
    virtual Desk& desk() = 0;
    virtual void added(Connection&) = 0;
    virtual void removed(Connection&) = 0;
    /// Has events offered to it. Returns false if there are too many who watch.
    [[nodiscard]] virtual bool watch(Connection&) = 0;
};

/// Serves `peer` until either side closes it; over TLS unless that is null. The connection keeps itself alive.
void start_connection(EventLoop&, FileDescriptor peer, bool v6, std::shared_ptr<boost::asio::ssl::context> tls,
                      std::weak_ptr<ConnectionOwner>, const Limits&);

} // namespace aerate::web
