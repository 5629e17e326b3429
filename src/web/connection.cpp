#include "web/connection.hpp"

#include "migration/link/endpoint.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <iterator>
#include <optional>
#include <utility>

namespace aerate::web {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Plain = tcp::socket;
using Secure = asio::ssl::stream<tcp::socket>;

std::string_view plain_view(beast::string_view text) {
    return {text.data(), text.size()};
}

/// What every answer has: nothing is kept by a cache, framed by another site, or loaded from one.
void set_safe_headers(auto& response) {
    response.set(http::field::cache_control, "no-store");
    response.set("X-Content-Type-Options", "nosniff");
    response.set("Referrer-Policy", "no-referrer");
    response.set("Cross-Origin-Resource-Policy", "same-origin");
    response.set("Content-Security-Policy",
                 "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
}

template <typename Stream>
class HttpConnection final : public Connection, public std::enable_shared_from_this<HttpConnection<Stream>> {
public:
    HttpConnection(Stream stream, std::shared_ptr<asio::ssl::context> tls, std::string caller,
                   std::weak_ptr<ConnectionOwner> owner, const Limits& limits)
        : tls_(std::move(tls))
        , stream_(std::move(stream))
        , deadline_(stream_.get_executor())
        , caller_(std::move(caller))
        , owner_(std::move(owner))
        , limits_(limits) {
        if (const auto open = owner_.lock())
            open->added(*this);
    }
    ~HttpConnection() override { leave(); }

    void close() override {
        error_code ignored;
        deadline_.cancel();
        static_cast<void>(socket().shutdown(tcp::socket::shutdown_both, ignored));
        static_cast<void>(socket().close(ignored));
        leave();
    }

    void start() {
        if constexpr (std::is_same_v<Stream, Secure>) {
            arm(limits_.handshake_deadline);
            stream_.async_handshake(Secure::server, [self = this->shared_from_this()](error_code error) {
                if (error)
                    self->close();
                else
                    self->read_request();
            });
        } else {
            read_request();
        }
    }

    void offer(std::shared_ptr<const std::string> event) override {
        if (sending_) // a slow reader misses events rather than have them kept for it
            return;
        send_event(std::move(event));
    }
    [[nodiscard]] bool is_known() const override { return known_; }

private:
    tcp::socket& socket() {
        if constexpr (std::is_same_v<Stream, Secure>)
            return stream_.next_layer();
        else
            return stream_;
    }
    void leave() {
        if (const auto open = owner_.lock())
            open->removed(*this);
        owner_.reset();
    }

    void read_request() {
        parser_.emplace();
        parser_->header_limit(limits_.header_bytes);
        parser_->body_limit(limits_.body_bytes);
        // What is between two requests is not told from a header that trickles in.
        arm(served_ ? limits_.idle_deadline : limits_.header_deadline);
        http::async_read_header(
            stream_, buffer_, *parser_,
            [self = this->shared_from_this()](error_code error, std::size_t) { self->header_read(error); });
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
        for (const auto field :
             {http::field::content_length, http::field::host, http::field::origin, http::field::authorization})
            if (header.count(field) > 1)
                return refuse(400, "a header field is there twice");
        if (header.count(http::field::expect) > 0)
            return refuse(417, "Expect is not supported; send the body at once");
        arm(limits_.body_deadline);
        http::async_read(stream_, buffer_, *parser_, [self = this->shared_from_this()](error_code failed, std::size_t) {
            self->request_read(failed);
        });
    }

    void request_read(error_code error) {
        if (error)
            return read_failed(error);
        deadline_.cancel();
        const auto owner = owner_.lock();
        if (!owner)
            return close();
        const auto& message = parser_->get();
        keep_alive_ = message.keep_alive();
        served_ = true;
        const Request request{plain_view(message.method_string()),
                              plain_view(message.target()),
                              message.body(),
                              plain_view(message[http::field::host]),
                              plain_view(message[http::field::origin]),
                              plain_view(message[http::field::authorization])};
        known_ = known_ || shows_token(owner->desk().access(), request);
        owner->desk().answer(request, caller_, [self = this->shared_from_this()](Response response) {
            if (self->socket().is_open())
                self->respond(std::move(response));
        });
    }

    void read_failed(error_code error) {
        if (error == http::error::header_limit || error == http::error::buffer_overflow)
            return refuse(431, "the request's header is too long");
        if (error == http::error::body_limit)
            return refuse(413, "the request's body is too long");
        if (timed_out_ && !served_)
            return refuse(408, "the request took too long to arrive");
        const bool malformed = error.category() == make_error_code(http::error::bad_method).category() &&
                               error != http::error::end_of_stream && error != http::error::partial_message;
        if (malformed)
            return refuse(400, "malformed HTTP");
        close();
    }

    /// Answers a request that was not read to its end, where the next one cannot be found.
    void refuse(unsigned status, std::string_view words) {
        keep_alive_ = false;
        respond(failure(status, words));
    }

    void respond(Response response) {
        if (response.events) {
            const auto owner = owner_.lock();
            if (!owner)
                return close();
            if (owner->watch(*this))
                return begin_events(*owner);
            response = failure(503, "too many pages are open at this host: close one, then reload this");
        }
        message_ = {};
        message_.result(response.status);
        message_.keep_alive(keep_alive_);
        message_.set(http::field::content_type,
                     beast::string_view(response.content_type.data(), response.content_type.size()));
        set_safe_headers(message_);
        if (!response.allow.empty())
            message_.set(http::field::allow, beast::string_view(response.allow.data(), response.allow.size()));
        if (!response.challenge.empty())
            message_.set(http::field::www_authenticate,
                         beast::string_view(response.challenge.data(), response.challenge.size()));
        message_.body() = std::move(response.body);
        message_.prepare_payload();
        arm(limits_.write_deadline);
        http::async_write(stream_, message_, [self = this->shared_from_this()](error_code error, std::size_t) {
            if (error || !self->keep_alive_)
                self->close();
            else
                self->read_request();
        });
    }

    /// Sends the header, and what is so at the moment. From here on whatever the caller sends is not read; that it has
    /// gone is seen by a read which is never satisfied.
    void begin_events(ConnectionOwner& owner) {
        http::response<http::string_body> header{http::status::ok, 11};
        header.set(http::field::content_type, "text/event-stream");
        header.set(http::field::connection, "close");
        set_safe_headers(header);
        std::ostringstream text;
        text << header.base();
        send_event(std::make_shared<const std::string>(std::move(text).str() + owner.desk().print_event()));
        stream_.async_read_some(asio::buffer(ignored_),
                                [self = this->shared_from_this()](error_code, std::size_t) { self->close(); });
    }

    void send_event(std::shared_ptr<const std::string> event) {
        sending_ = std::move(event);
        arm(limits_.write_deadline);
        asio::async_write(stream_, asio::buffer(*sending_),
                          [self = this->shared_from_this()](error_code error, std::size_t) {
                              self->sending_.reset();
                              self->deadline_.cancel();
                              if (error)
                                  self->close();
                          });
    }

    /// Ends whatever the socket waits for when the time is over.
    void arm(std::chrono::milliseconds time) {
        deadline_.expires_after(time);
        deadline_.async_wait([weak = this->weak_from_this()](error_code error) {
            const auto self = weak.lock();
            // An expiry that was queued when the timer was armed anew looks like a success.
            if (error || !self || self->deadline_.expiry() > std::chrono::steady_clock::now())
                return;
            self->timed_out_ = true;
            error_code ignored;
            static_cast<void>(self->socket().cancel(ignored));
        });
    }

    std::shared_ptr<asio::ssl::context> tls_; ///< outlives the stream
    Stream stream_;
    asio::steady_timer deadline_;
    std::string caller_;
    std::weak_ptr<ConnectionOwner> owner_;
    Limits limits_;
    beast::flat_buffer buffer_{16 << 10};
    std::optional<http::request_parser<http::string_body>> parser_;
    http::response<http::string_body> message_;
    std::shared_ptr<const std::string> sending_; ///< the event that is on its way
    std::array<char, 64> ignored_{};
    bool keep_alive_ = false;
    bool served_ = false;
    bool known_ = false;
    bool timed_out_ = false;
};

} // namespace

void start_connection(EventLoop& loop, FileDescriptor peer, bool v6, std::shared_ptr<asio::ssl::context> tls,
                      std::weak_ptr<ConnectionOwner> owner, const Limits& limits) {
    std::string caller = migration::peer_of(peer);
    tcp::socket socket(loop.context(), v6 ? tcp::v6() : tcp::v4(), peer.release());
    if (tls) {
        Secure stream(std::move(socket), *tls);
        std::make_shared<HttpConnection<Secure>>(std::move(stream), std::move(tls), std::move(caller), std::move(owner),
                                                 limits)
            ->start();
    } else {
        std::make_shared<HttpConnection<Plain>>(std::move(socket), nullptr, std::move(caller), std::move(owner), limits)
            ->start();
    }
}

} // namespace aerate::web
