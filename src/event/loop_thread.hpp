// An event loop with a thread of its own.
#pragma once

#include "base/error.hpp"
#include "confine/thread_kind.hpp"
#include "event/event_loop.hpp"

#include <string>
#include <thread>

namespace aerate {

class LoopThread {
public:
    /// One that is confined to what its kind does.
    explicit LoopThread(const confine::ThreadKind& kind)
        : LoopThread(kind, std::string(kind.name)) {}
    LoopThread(const confine::ThreadKind& kind, std::string name)
        : name_(std::move(name))
        , kind_(&kind) {}
    /// One that may do what its starter may: for tests.
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
    const confine::ThreadKind* kind_ = nullptr;
    EventLoop loop_;
    std::jthread thread_;
};

} // namespace aerate
