// Accepts connections at a listening socket, for as long as it lives. While the host can give no descriptor or watch
// for it the connections wait.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "event/event_loop.hpp"

#include <functional>

namespace aerate {

class Acceptor {
public:
    /// May destroy this.
    using Accepted = std::move_only_function<void(FileDescriptor)>;

    /// `listening` stays open while this lives. Nothing is accepted before start(). All on the loop's thread, which the
    /// caller does not leave waiting.
    Acceptor(EventLoop& loop, int listening, Accepted accepted);
    Acceptor(const Acceptor&) = delete;
    Acceptor& operator=(const Acceptor&) = delete;
    ~Acceptor() = default;

    /// Fails when the host refuses the watch.
    [[nodiscard]] Result<> start();
    /// Starts as soon as the host allows.
    void start_later();

private:
    void accept();

    EventLoop& loop_;
    int listening_;
    Accepted accepted_;
    Subscription readable_;
    Subscription retry_;
};

} // namespace aerate
