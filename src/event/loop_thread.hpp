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
    void start();
    /// The same for who can go without: fails when the process can have no more threads.
    [[nodiscard]] Result<> try_start();
    void stop();

private:
    std::string name_;
    EventLoop loop_;
    std::jthread thread_;
};

} // namespace aerate
