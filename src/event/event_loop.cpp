#include "event/event_loop.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <exception>
#include <optional>
#include <thread>

namespace aerate {
namespace asio = boost::asio;

struct Subscription::State {
    virtual ~State() = default;
    virtual void cancel() = 0;
    bool cancelled = false;
};

namespace {

// The pending wait holds the state, so a callback that drops its own subscription does not pull the floor from under
// itself.
struct Watch final : Subscription::State, std::enable_shared_from_this<Watch> {
    Watch(asio::io_context& context, int fd, EventLoop::Callback f)
        : descriptor(context, fd)
        , callback(std::move(f)) {}
    ~Watch() override { cancel(); }
    void cancel() override {
        cancelled = true;
        // Ends the wait and forgets the descriptor, which stays its owner's.
        if (descriptor.is_open())
            descriptor.release();
    }
    void arm() {
        descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                              [self = shared_from_this()](const boost::system::error_code& error) {
                                  if (error || self->cancelled)
                                      return;
                                  self->callback();
                                  if (!self->cancelled)
                                      self->arm();
                              });
    }
    asio::posix::stream_descriptor descriptor;
    EventLoop::Callback callback;
};

struct Timer final : Subscription::State, std::enable_shared_from_this<Timer> {
    Timer(asio::io_context& context, std::optional<std::chrono::milliseconds> p, EventLoop::Callback f)
        : timer(context)
        , period(p)
        , callback(std::move(f)) {}
    void cancel() override {
        cancelled = true;
        timer.cancel();
    }
    void arm(std::chrono::steady_clock::time_point when) {
        timer.expires_at(when);
        timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
            if (error || self->cancelled)
                return;
            self->callback();
            if (self->period && !self->cancelled)
                self->arm(std::max(self->timer.expiry() + *self->period, std::chrono::steady_clock::now()));
        });
    }
    asio::steady_timer timer;
    std::optional<std::chrono::milliseconds> period;
    EventLoop::Callback callback;
};

} // namespace

Subscription& Subscription::operator=(Subscription&& other) noexcept {
    if (this != &other) {
        cancel();
        state_ = std::move(other.state_);
    }
    return *this;
}

void Subscription::cancel() {
    if (auto state = std::exchange(state_, nullptr))
        state->cancel();
}

struct EventLoop::Impl {
    asio::io_context context{1};
    asio::executor_work_guard<asio::io_context::executor_type> keep_running{context.get_executor()};
    std::atomic<std::thread::id> thread{};
};

EventLoop::EventLoop()
    : impl_(std::make_unique<Impl>()) {}
EventLoop::~EventLoop() = default;

Subscription EventLoop::watch(int fd, Callback callback) {
    auto watch = std::make_shared<Watch>(impl_->context, fd, std::move(callback));
    watch->arm();
    return Subscription(std::move(watch));
}

Result<Subscription> EventLoop::try_watch(int fd, Callback callback) {
    // Whatever Asio cannot have, the descriptors of its own reactor too, it throws.
    try {
        return watch(fd, std::move(callback));
    } catch (const std::exception& refused) {
        return fail("cannot watch a file descriptor: {}", refused.what());
    }
}

Subscription EventLoop::after(std::chrono::milliseconds delay, Callback callback) {
    auto timer = std::make_shared<Timer>(impl_->context, std::nullopt, std::move(callback));
    timer->arm(std::chrono::steady_clock::now() + delay);
    return Subscription(std::move(timer));
}

Subscription EventLoop::every(std::chrono::milliseconds period, Callback callback) {
    auto timer = std::make_shared<Timer>(impl_->context, period, std::move(callback));
    timer->arm(std::chrono::steady_clock::now() + period);
    return Subscription(std::move(timer));
}

void EventLoop::post(Callback f) {
    asio::post(impl_->context, std::move(f));
}

void EventLoop::run() {
    impl_->thread = std::this_thread::get_id();
    impl_->context.run();
    impl_->thread = std::thread::id{};
    impl_->context.restart();
}

void EventLoop::stop() {
    impl_->context.stop();
}
bool EventLoop::on_loop_thread() const {
    return impl_->thread.load() == std::this_thread::get_id();
}
asio::io_context& EventLoop::context() {
    return impl_->context;
}

} // namespace aerate
