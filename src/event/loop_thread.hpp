// An event loop with a thread of its own.
#pragma once

#include "base/error.hpp"
#include "event/event_loop.hpp"

#include <string>
#include <thread>

namespace aerate {

class LoopThread {
public:
    explicit LoopThread(std::string name)
        : name_(std::move(name)) {}
    /// Stops and joins; what is posted later is dropped.
    ~LoopThread() { stop(); }

    [[nodiscard]] EventLoop& loop() { return loop_; }
    [[nodiscard]] const EventLoop& loop() const { return loop_; }
    /// Fails when the host refuses the thread, or the descriptors of its loop; then it may be tried again. What was
    /// posted is still there.
    [[nodiscard]] Result<> start();
    void stop();
    [[nodiscard]] bool started() const { return thread_.joinable(); }

private:
    std::string name_;
    EventLoop loop_;
    std::jthread thread_;
};

} // namespace aerate
