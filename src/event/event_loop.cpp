#include "event/event_loop.hpp"

#include "base/check.hpp"
#include "base/host.hpp"
#include "base/log.hpp"

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

/// Catches what a library throws in a callback, which must end neither the loop nor the watch or timer that it came to.
template <typename F>
void call_and_log(F& callback) {
    try {
        callback();
    } catch (const std::exception& thrown) {
        log::error("a callback failed: {}", thrown.what());
    }
}

constexpr std::chrono::milliseconds ask_again{100};

// The pending wait holds the state, so a callback that drops its own subscription does not pull the floor from under
// itself.
struct Watch final : Subscription::State, std::enable_shared_from_this<Watch> {
    using Descriptor = asio::posix::stream_descriptor;
    Watch(asio::io_context& context, int watched, EventLoop::Callback f,
          Descriptor::wait_type direction = Descriptor::wait_read)
        : descriptor(context)
        , again(context)
        , fd(watched)
        , for_what(direction)
        , callback(std::move(f)) {}
    ~Watch() override { cancel(); }
    void cancel() override {
        cancelled = true;
        again.cancel();
        // Ends the wait and forgets the descriptor, which stays its owner's.
        if (descriptor.is_open())
            descriptor.release();
    }
    Result<> begin() {
        if (host::refuses(host::Resource::watch))
            return fail_errno("cannot watch a file descriptor");
        boost::system::error_code refused;
        (void)descriptor.assign(fd, refused);
        if (refused)
            return std::unexpected(
                Error{"cannot watch a file descriptor: " + describe_errno(refused.value()), refused.value()});
        wait();
        return {};
    }
    void begin_or_ask_again() {
        if (begin())
            return;
        again.expires_after(ask_again);
        again.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
            if (!error && !self->cancelled)
                self->begin_or_ask_again();
        });
    }
    void wait() {
        descriptor.async_wait(for_what, [self = shared_from_this()](const boost::system::error_code& error) {
            if (error || self->cancelled)
                return;
            call_and_log(self->callback);
            if (!self->cancelled)
                self->wait();
        });
    }
    asio::posix::stream_descriptor descriptor;
    asio::steady_timer again;
    int fd;
    Descriptor::wait_type for_what;
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
            call_and_log(self->callback);
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
    bool prepared = false;
};

EventLoop::EventLoop()
    : impl_(std::make_unique<Impl>()) {}
EventLoop::~EventLoop() = default;

Result<> EventLoop::prepare() {
    if (impl_->prepared)
        return {};
    if (host::refuses(host::Resource::descriptor))
        return fail_errno("cannot create the descriptors of an event loop");
    // Asio makes them with the first thing that needs them, and throws what it cannot have.
    try {
        const asio::steady_timer first(impl_->context);
        const asio::posix::stream_descriptor watcher(impl_->context);
        impl_->prepared = true;
        return {};
    } catch (const boost::system::system_error& refused) {
        errno = refused.code().value(); // what() names its own functions
        return fail_errno("cannot create the descriptors of an event loop");
    } catch (const std::exception& refused) {
        return fail("cannot create the descriptors of an event loop: {}", refused.what());
    }
}

Subscription EventLoop::watch(int fd, Callback callback) {
    CHECK(owned_here());
    auto watch = std::make_shared<Watch>(impl_->context, fd, std::move(callback));
    watch->begin_or_ask_again();
    return Subscription(std::move(watch));
}

Subscription EventLoop::watch_writable(int fd, Callback callback) {
    CHECK(owned_here());
    auto watch = std::make_shared<Watch>(impl_->context, fd, std::move(callback), Watch::Descriptor::wait_write);
    watch->begin_or_ask_again();
    return Subscription(std::move(watch));
}

Result<Subscription> EventLoop::try_watch(int fd, Callback callback) {
    CHECK(owned_here());
    TRY(prepare());
    auto watch = std::make_shared<Watch>(impl_->context, fd, std::move(callback));
    TRY(watch->begin());
    return Subscription(std::move(watch));
}

Subscription EventLoop::after(std::chrono::milliseconds delay, Callback callback) {
    CHECK(owned_here());
    auto timer = std::make_shared<Timer>(impl_->context, std::nullopt, std::move(callback));
    timer->arm(std::chrono::steady_clock::now() + delay);
    return Subscription(std::move(timer));
}

Subscription EventLoop::every(std::chrono::milliseconds period, Callback callback) {
    CHECK(owned_here());
    auto timer = std::make_shared<Timer>(impl_->context, period, std::move(callback));
    timer->arm(std::chrono::steady_clock::now() + period);
    return Subscription(std::move(timer));
}

void EventLoop::post(Callback f) {
    asio::post(impl_->context, [f = std::move(f)]() mutable { call_and_log(f); });
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

bool EventLoop::owned_here() const {
    const auto owner = impl_->thread.load();
    return owner == std::thread::id{} || owner == std::this_thread::get_id();
}

asio::io_context& EventLoop::context() {
    return impl_->context;
}

} // namespace aerate
