#include "host/monitor_link.hpp"

#include "base/check.hpp"
#include "base/host.hpp"
#include "base/peer.hpp"
#include "base/unix_socket.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <deque>
#include <optional>
#include <utility>

namespace aerate::hostd {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using Protocol = asio::local::stream_protocol;

} // namespace

struct MonitorLink::Impl : std::enable_shared_from_this<MonitorLink::Impl> {
    struct Pending {
        Question question;
        std::chrono::milliseconds deadline;
        Done done;
    };
    /// One connection, which keeps itself while Beast works with it.
    struct Connection {
        Connection(asio::io_context& context, FileDescriptor socket)
            : stream(context, Protocol(), socket.release()) {}
        Protocol::socket stream;
        beast::flat_buffer buffer{longest_answer + (64U << 10)};
        http::request<http::string_body> request;
        std::optional<http::response_parser<http::string_body>> parser;
        bool used = false; ///< it has carried an answer: the monitor may have closed it since
    };

    Impl(EventLoop& event_loop, std::string path)
        : loop(event_loop)
        , socket(std::move(path)) {}

    /// What Beast calls when it has done something: nothing happens if that connection has been given up meanwhile.
    template <typename F>
    auto guarded(F f) {
        return [self = shared_from_this(), kept = connection, f = std::move(f)](error_code error, std::size_t) {
            if (self->connection == kept && self->working && !self->closed)
                f(error);
        };
    }

    void next() {
        if (working || waiting.empty())
            return;
        working = true;
        again = true;
        timer = loop.after(waiting.front().deadline, [this] { finish(fail("it did not answer in time")); });
        begin();
    }

    void begin() {
        if (!connection) {
            auto made = connect();
            if (!made)
                return finish_later(std::move(made).error());
            connection = *std::move(made);
        }
        send();
    }

    Result<std::shared_ptr<Connection>> connect() {
        FileDescriptor made = TRY(connect_trusted_unix(socket));
        if (const auto credentials = peer_credentials(made.get()))
            peer_pid = credentials->pid;
        if (host::refuses(host::Resource::watch))
            return fail_errno("cannot watch a connection");
        try {
            return std::make_shared<Connection>(loop.context(), std::move(made));
        } catch (const std::exception& refused) {
            return fail("cannot watch a connection: {}", refused.what());
        }
    }

    void send() {
        const Question& question = waiting.front().question;
        auto& request = connection->request;
        request = {};
        request.method_string({question.method.data(), question.method.size()});
        request.target({question.path.data(), question.path.size()});
        request.version(11);
        request.set(http::field::host, "localhost");
        if (!question.body.empty()) {
            request.set(http::field::content_type, "application/json");
            request.body() = question.body;
            request.prepare_payload();
        }
        http::async_write(connection->stream, request, guarded([this](error_code error) {
                              if (error)
                                  return broken(error);
                              receive();
                          }));
    }

    void receive() {
        auto& parser = connection->parser.emplace();
        parser.header_limit(16U << 10);
        parser.body_limit(longest_answer);
        http::async_read(connection->stream, connection->buffer, parser, guarded([this](error_code error) {
                             if (error)
                                 return broken(error);
                             take_answer();
                         }));
    }

    void take_answer() {
        auto& message = connection->parser->get();
        Answer answer{message.result_int(), std::move(message.body())};
        connection->used = true;
        if (!connection->parser->keep_alive())
            connection.reset();
        finish(std::move(answer));
    }

    /// A connection that has carried an answer may have been closed for having been silent: that is not this question's
    /// fault. All that is asked can be asked twice.
    void broken(error_code error) {
        const bool stale = connection->used && std::exchange(again, false);
        connection.reset();
        if (stale)
            return begin();
        finish(fail("it broke off: {}", error.message()));
    }

    void finish_later(Error error) {
        loop.post([weak = weak_from_this(), error = std::move(error)]() mutable {
            if (const auto self = weak.lock(); self && self->working)
                self->finish(std::unexpected(std::move(error)));
        });
    }

    void finish(Result<Answer> answer) {
        const auto alive = shared_from_this();
        timer.cancel();
        if (!answer)
            close();
        working = false;
        Done done = std::move(waiting.front().done);
        waiting.pop_front();
        done(std::move(answer));
        if (!closed)
            next();
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
    std::shared_ptr<Connection> connection;
    std::deque<Pending> waiting;
    Subscription timer;
    bool working = false;
    bool again = false; ///< a stale connection may be replaced once
    bool closed = false;
    int peer_pid = 0;
};

MonitorLink::MonitorLink(EventLoop& loop, std::string socket)
    : impl_(std::make_shared<Impl>(loop, std::move(socket))) {}

MonitorLink::~MonitorLink() {
    impl_->closed = true;
    impl_->timer.cancel();
    impl_->close();
    impl_->waiting.clear();
    impl_->working = false;
}

void MonitorLink::ask(Question question, std::chrono::milliseconds deadline, Done done) {
    CHECK(impl_->loop.owned_here());
    if (impl_->waiting.size() >= questions_max) {
        impl_->loop.post([weak = std::weak_ptr(impl_), done = std::move(done)]() mutable {
            if (const auto self = weak.lock(); self && !self->closed)
                done(fail("it has not answered what it was asked before"));
        });
        return;
    }
    impl_->waiting.push_back({std::move(question), deadline, std::move(done)});
    impl_->next();
}

bool MonitorLink::busy() const {
    return impl_->working;
}
int MonitorLink::peer() const {
    return impl_->peer_pid;
}

} // namespace aerate::hostd
