#include "control/connection.hpp"

#include "base/same_but_case.hpp"
#include "control/event_stream.hpp"
#include "control/reply.hpp"
#include "control/router.hpp"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <iterator>
#include <optional>

namespace aerate::control {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

std::string_view view(beast::string_view text) {
    return {text.data(), text.size()};
}

class Connection final : public ConnectionHandle, public std::enable_shared_from_this<Connection> {
public:
    Connection(asio::io_context& context, FileDescriptor peer, std::weak_ptr<ConnectionOwner> owner,
               const ServerLimits& limits)
        : socket_(context, asio::local::stream_protocol(), peer.release())
        , deadline_(context)
        , owner_(std::move(owner))
        , limits_(limits) {
        if (const auto open = owner_.lock())
            open->added(*this);
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() {
        if (const auto open = owner_.lock())
            open->removed(*this);
    }

    void close() override {
        error_code ignored;
        deadline_.cancel();
        static_cast<void>(socket_.shutdown(asio::local::stream_protocol::socket::shutdown_both, ignored));
        static_cast<void>(socket_.close(ignored));
    }

    void read_request() {
        target_.clear();
        parser_.emplace();
        parser_->header_limit(limits_.header_bytes);
        parser_->body_limit(limits_.body_bytes);
        arm(limits_.header_deadline);
        http::async_read_header(socket_, buffer_, *parser_, [self = shared_from_this()](error_code error, std::size_t) {
            self->header_read(error);
        });
    }

private:
    /// Waits for a request: between two a caller may stay silent for longer than within one.
    void wait_for_request() {
        if (buffer_.size() > 0)
            return read_request();
        arm(limits_.idle_deadline);
        socket_.async_wait(asio::local::stream_protocol::socket::wait_read,
                           [self = shared_from_this()](error_code error) {
                               if (error)
                                   self->close();
                               else
                                   self->read_request();
                           });
    }

    void header_read(error_code error) {
        if (error)
            return read_failed(error);
        const auto& header = parser_->get();
        if (static_cast<std::size_t>(std::distance(header.begin(), header.end())) > limits_.header_fields)
            return refuse(431, "too many header fields");
        // A body has one length, said by Content-Length: what a chunked one and a second length allow is smuggling.
        if (header.count(http::field::transfer_encoding) > 0)
            return refuse(400, "Transfer-Encoding is not supported; send Content-Length");
        if (header.count(http::field::content_length) > 1)
            return refuse(400, "more than one Content-Length");
        arm(limits_.body_deadline);
        if (same_but_case(view(header[http::field::expect]), "100-continue"))
            return tell_to_continue();
        read_body();
    }

    void tell_to_continue() {
        continue_.result(http::status::continue_);
        http::async_write(socket_, continue_, [self = shared_from_this()](error_code error, std::size_t) {
            if (error)
                self->close();
            else
                self->read_body();
        });
    }

    void read_body() {
        http::async_read(socket_, buffer_, *parser_, [self = shared_from_this()](error_code error, std::size_t) {
            if (error)
                self->read_failed(error);
            else
                self->request_read();
        });
    }

    void request_read() {
        deadline_.cancel();
        const auto& message = parser_->get();
        keep_alive_ = message.keep_alive();
        target_ = view(message.target());
        const auto owner = owner_.lock();
        if (!owner)
            return close();
        if (const auto* routes = owner->routes())
            return send((*routes)(view(message.method_string()), target_, message.body()));
        auto request = route(view(message.method_string()), view(message.target()), message.body());
        if (!request)
            return send(std::move(request).error());
        owner->handle(*std::move(request), [self = shared_from_this()](Reply reply) mutable {
            // A second call finds no reader.
            if (const auto connection = std::exchange(self, nullptr))
                asio::dispatch(connection->socket_.get_executor(),
                               [connection, answer = std::move(reply)] { connection->answer(answer); });
        });
    }

    void read_failed(error_code error) {
        if (error == http::error::header_limit || error == http::error::buffer_overflow)
            return refuse(431, "the request's header is too long");
        if (error == http::error::body_limit)
            return refuse(413, fmt::format("the body is longer than {} bytes", limits_.body_bytes));
        if (timed_out_)
            return refuse(408, "the request took too long to arrive");
        const bool malformed = error.category() == make_error_code(http::error::bad_method).category() &&
                               error != http::error::end_of_stream && error != http::error::partial_message;
        if (malformed)
            return refuse(400, "malformed HTTP: " + error.message());
        close();
    }

    /// Answers a request that was not read to its end, where the next one cannot be found.
    void refuse(unsigned status, std::string message) {
        keep_alive_ = false;
        send(Failure{status, std::move(message)});
    }

    void answer(const Reply& reply) {
        const auto* const events = std::get_if<EventStream>(&reply);
        if (events == nullptr)
            return send(reply);
        const auto owner = owner_.lock();
        if (!owner || !socket_.is_open())
            return close();
        if (!owner->takes_listener())
            return send(Failure{503, "too many listen to events already: let one of them hang up"});
        start_event_stream(std::move(socket_), *events, owner, limits_);
    }

    void send(const Reply& reply) { send(print_reply(reply)); }
    void send(const HttpReply& text) {
        response_ = {};
        response_.result(status_on(target_, text.status));
        response_.keep_alive(keep_alive_);
        if (!text.body.empty()) {
            response_.set(http::field::content_type,
                          beast::string_view(text.content_type.data(), text.content_type.size()));
            response_.body() = text.body;
        }
        // RFC 9110, 8.6: no Content-Length in a 204.
        if (response_.result() != http::status::no_content)
            response_.prepare_payload();
        arm(limits_.write_deadline);
        http::async_write(socket_, response_, [self = shared_from_this()](error_code error, std::size_t) {
            if (error || !self->keep_alive_)
                self->close();
            else
                self->wait_for_request();
        });
    }

    /// Ends whatever the socket waits for when the time is over.
    void arm(std::chrono::milliseconds time) {
        deadline_.expires_after(time);
        deadline_.async_wait([weak = weak_from_this()](error_code error) {
            const auto self = weak.lock();
            // An expiry that was queued when the timer was armed anew looks like a success.
            if (error || !self || self->deadline_.expiry() > std::chrono::steady_clock::now())
                return;
            self->timed_out_ = true;
            error_code ignored;
            static_cast<void>(self->socket_.cancel(ignored));
        });
    }

    asio::local::stream_protocol::socket socket_;
    asio::steady_timer deadline_;
    std::weak_ptr<ConnectionOwner> owner_;
    ServerLimits limits_;
    beast::flat_buffer buffer_{64 << 10};
    std::optional<http::request_parser<http::string_body>> parser_;
    std::string target_; ///< of the request that is answered
    http::response<http::string_body> response_;
    http::response<http::empty_body> continue_;
    bool keep_alive_ = false;
    bool timed_out_ = false;
};

} // namespace

void start_connection(EventLoop& loop, FileDescriptor peer, std::weak_ptr<ConnectionOwner> owner,
                      const ServerLimits& limits) {
    std::make_shared<Connection>(loop.context(), std::move(peer), std::move(owner), limits)->read_request();
}

} // namespace aerate::control
