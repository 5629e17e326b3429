#include "control/event_stream.hpp"

#include "control/reply.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include <cstddef>
#include <deque>
#include <utility>

namespace aerate::control {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Socket = asio::local::stream_protocol::socket;

class EventStreamConnection final : public ConnectionHandle,
                                    public EventFeed::Listener,
                                    public std::enable_shared_from_this<EventStreamConnection> {
public:
    EventStreamConnection(Socket socket, std::shared_ptr<EventFeed> feed, const std::shared_ptr<ConnectionOwner>& owner,
                          const ServerLimits& limits)
        : socket_(std::move(socket))
        , timer_(socket_.get_executor())
        , feed_(std::move(feed))
        , owner_(owner)
        , limits_(limits) {
        owner->listener_added(*this);
        feed_->add(*this);
    }
    EventStreamConnection(const EventStreamConnection&) = delete;
    EventStreamConnection& operator=(const EventStreamConnection&) = delete;
    ~EventStreamConnection() {
        feed_->remove(*this);
        if (const auto owner = owner_.lock())
            owner->listener_removed(*this);
    }

    void start(const std::string& first) {
        watch_for_end();
        hear(std::make_shared<const std::string>(fmt::format("HTTP/1.1 200 OK\r\nContent-Type: {}\r\n"
                                                             "Cache-Control: no-store\r\nConnection: close\r\n\r\n{}",
                                                             event_stream_type, first)));
    }

    void hear(const EventText& event) override {
        if (closed_)
            return;
        waiting_bytes_ += event->size();
        if (waiting_bytes_ > limits_.event_bytes)
            return close();
        waiting_.push_back(event);
        if (waiting_.size() == 1)
            write();
    }

    void close() override {
        closed_ = true;
        error_code ignored;
        timer_.cancel();
        static_cast<void>(socket_.shutdown(Socket::shutdown_both, ignored));
        static_cast<void>(socket_.close(ignored));
    }

private:
    /// A listener has nothing more to say: what can be read is its end.
    void watch_for_end() {
        socket_.async_wait(Socket::wait_read, [self = shared_from_this()](error_code) { self->close(); });
    }

    /// Writes what has waited longest. It stays in the queue until it has gone.
    void write() {
        arm(limits_.write_deadline, &EventStreamConnection::close);
        asio::async_write(socket_, asio::buffer(*waiting_.front()),
                          [self = shared_from_this()](error_code error, std::size_t) {
                              if (error || self->closed_)
                                  return self->close();
                              self->waiting_bytes_ -= self->waiting_.front()->size();
                              self->waiting_.pop_front();
                              if (!self->waiting_.empty())
                                  return self->write();
                              self->arm(self->limits_.keep_alive, &EventStreamConnection::say_nothing);
                          });
    }

    /// Keeps a connection open that somebody between would close, and finds out about a listener that is gone.
    void say_nothing() {
        static const EventText comment = std::make_shared<const std::string>(": \n\n");
        hear(comment);
    }

    void arm(std::chrono::milliseconds time, void (EventStreamConnection::*then)()) {
        timer_.expires_after(time);
        timer_.async_wait([weak = weak_from_this(), then](error_code error) {
            const auto self = weak.lock();
            // An expiry that was queued when the timer was armed anew looks like a success.
            if (!error && self && !self->closed_ && self->timer_.expiry() <= std::chrono::steady_clock::now())
                ((*self).*then)();
        });
    }

    Socket socket_;
    asio::steady_timer timer_; ///< of the write under way, or until the next comment
    std::shared_ptr<EventFeed> feed_;
    std::weak_ptr<ConnectionOwner> owner_;
    ServerLimits limits_;
    std::deque<EventText> waiting_; ///< the first is being written
    std::size_t waiting_bytes_ = 0;
    bool closed_ = false;
};

} // namespace

void start_event_stream(Socket socket, const EventStream& events, const std::shared_ptr<ConnectionOwner>& owner,
                        const ServerLimits& limits) {
    std::make_shared<EventStreamConnection>(std::move(socket), events.feed, owner, limits)->start(events.first);
}

} // namespace aerate::control
