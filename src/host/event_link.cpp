#include "host/event_link.hpp"

#include "base/host.hpp"
#include "base/unix_socket.hpp"
#include "host/event_reader.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <utility>

namespace aerate::hostd {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Protocol = asio::local::stream_protocol;

constexpr std::string_view subscription_request =
    "GET /aerate/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
constexpr std::string_view accepted = "HTTP/1.1 200";

} // namespace

struct EventLink::Impl : std::enable_shared_from_this<EventLink::Impl> {
    struct Connection {
        Connection(asio::io_context& context, FileDescriptor socket)
            : stream(context, Protocol(), socket.release()) {}
        Protocol::socket stream;
        std::array<char, 2048> bytes;
        std::string beginning; ///< until it is known what the answer is
        EventReader events;
    };

    Impl(EventLoop& event_loop, std::string path, Heard f)
        : loop(event_loop)
        , socket(std::move(path))
        , heard(std::move(f)) {}

    void connect() {
        auto made = connect_trusted_unix(socket);
        if (!made || host::refuses(host::Resource::watch))
            return; // who asks it questions finds out too
        try {
            connection = std::make_shared<Connection>(loop.context(), *std::move(made));
        } catch (const std::exception&) {
            return;
        }
        asio::async_write(connection->stream, asio::buffer(subscription_request.data(), subscription_request.size()),
                          [self = shared_from_this(), kept = connection](error_code error, std::size_t) {
                              if (self->connection == kept)
                                  error ? self->close() : self->read();
                          });
    }

    void read() {
        connection->stream.async_read_some(
            asio::buffer(connection->bytes),
            [self = shared_from_this(), kept = connection](error_code error, std::size_t count) {
                if (self->connection != kept)
                    return;
                if (error)
                    return self->close();
                self->take({kept->bytes.data(), count});
                if (self->connection == kept)
                    self->read();
            });
    }

    /// Header lines are none of an event, so they need no telling apart.
    void take(std::string_view bytes) {
        if (connection->beginning.size() < accepted.size()) {
            connection->beginning += bytes.substr(0, accepted.size() - connection->beginning.size());
            if (connection->beginning.size() == accepted.size() && connection->beginning != accepted) {
                refused = true;
                return close();
            }
        }
        connection->events.feed(bytes, heard);
    }

    void close() {
        if (!connection)
            return;
        error_code ignored;
        static_cast<void>(connection->stream.close(ignored));
        connection.reset();
    }

    EventLoop& loop;
    std::string socket;
    Heard heard;
    std::shared_ptr<Connection> connection;
    bool refused = false;
};

EventLink::EventLink(EventLoop& loop, std::string socket, Heard heard)
    : impl_(std::make_shared<Impl>(loop, std::move(socket), std::move(heard))) {}
EventLink::~EventLink() {
    impl_->close();
}

void EventLink::listen() {
    if (!impl_->connection && !impl_->refused)
        impl_->connect();
}

} // namespace aerate::hostd
