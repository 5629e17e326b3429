// One thread's event loop. Asio is beneath; it stays out of this header so that the data path, which is built without
// exceptions, never sees it.
#pragma once

#include "base/error.hpp"

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <type_traits>
#include <utility>

namespace boost::asio {
class io_context;
}

namespace aerate {

class EventLoop;

/// Ends a watch or a timer when it goes. May be destroyed inside its own callback. Loop thread only.
class Subscription {
public:
    Subscription() = default;
    Subscription(Subscription&&) noexcept = default;
    Subscription& operator=(Subscription&& other) noexcept;
    ~Subscription() { cancel(); }
    void cancel();
    [[nodiscard]] bool active() const { return state_ != nullptr; }

    struct State;

private:
    friend class EventLoop;
    explicit Subscription(std::shared_ptr<State> state)
        : state_(std::move(state)) {}
    std::shared_ptr<State> state_;
};

class EventLoop {
public:
    using Callback = std::move_only_function<void()>;

    EventLoop();
    ~EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    /// Calls back each time `fd` is readable, level triggered; the callback reads it and does bounded work. The loop
    /// does not own `fd`, which must stay open while the subscription lives. Loop thread, or before run().
    [[nodiscard]] Subscription watch(int fd, Callback);
    /// The same for who can go without: fails when the process or its user can have no more descriptors or watches.
    [[nodiscard]] Result<Subscription> try_watch(int fd, Callback);
    /// Calls back once. Loop thread, or before run().
    [[nodiscard]] Subscription after(std::chrono::milliseconds, Callback);
    /// Calls back again and again, first after one period. Loop thread, or before run().
    [[nodiscard]] Subscription every(std::chrono::milliseconds period, Callback);

    /// Runs `f` on the loop thread, soon. Any thread.
    void post(Callback f);
    /// Runs `f` on the loop thread and waits for its answer; at once if this is the loop thread.
    /// REQUIRES: the loop runs, and never waits for the calling thread.
    template <typename F>
    auto call(F&& f) -> std::invoke_result_t<F&> {
        using Answer = std::invoke_result_t<F&>;
        if (on_loop_thread())
            return f();
        std::packaged_task<Answer()> task(std::ref(f));
        auto answer = task.get_future();
        // The task goes along: the caller may have its answer, and be gone, before the loop's thread is out of the
        // task.
        post([task = std::move(task)]() mutable { task(); });
        return answer.get();
    }

    /// Serves until stop(). The calling thread becomes the loop thread. May be called again: what was posted meanwhile,
    /// and every watch and timer, is still there.
    void run();
    /// Any thread. What is posted later waits for the next run(), or is dropped when the loop is destroyed.
    void stop();
    [[nodiscard]] bool on_loop_thread() const;

    [[nodiscard]] boost::asio::io_context& context();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace aerate
