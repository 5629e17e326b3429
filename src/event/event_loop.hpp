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

    /// Requests the descriptors of the loop itself. Call this first: without them watches,
    /// timers and run() end the process.
    [[nodiscard]] Result<> prepare();
    /// Calls back each time `fd` is readable, level triggered; the callback reads it and does bounded work. The loop
    /// does not own `fd`, which must stay open while the subscription lives. When the host refuses the watch it is
    /// asked again, ten times a second, until it grants it. Loop thread, or before run().
    [[nodiscard]] Subscription watch(int fd, Callback);
    /// Does the same for callers that can go without: fails when the process or its user can have no more watches.
    [[nodiscard]] Result<Subscription> try_watch(int fd, Callback);
    /// watch(), for when `fd` is writable. Not for a descriptor that is watched already: give it a duplicate.
    [[nodiscard]] Subscription watch_writable(int fd, Callback);
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

    /// Serves until stop(). An exception that a callback lets out is logged, and goes no further. The calling thread
    /// becomes the loop thread. May be called again: what was posted meanwhile, and every watch and timer, is still
    /// there.
    void run();
    /// Stops run(). Any thread. What is posted later waits for the next run(), or is dropped when the loop is
    /// destroyed.
    void stop();
    [[nodiscard]] bool on_loop_thread() const;
    /// Returns whether the calling thread may use what belongs to this loop: the loop's thread may, and while the loop
    /// does not run its owner. What a class does on its loop only it CHECKs by this at its door, as watch(), after()
    /// and every() do.
    [[nodiscard]] bool owned_here() const;

    [[nodiscard]] boost::asio::io_context& context();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace aerate
