// Hears a monitor's events (GET /aerate/events) for as long as it lives.
//
// On the loop's thread.
#pragma once

#include "event/event_loop.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace aerate::hostd {

class EventLink {
public:
    using Heard = std::function<void(std::string_view event)>;
    /// What `heard` is called with may be anything. Neither call destroys this.
    EventLink(EventLoop&, std::string socket, Heard heard);
    ~EventLink();
    EventLink(const EventLink&) = delete;
    EventLink& operator=(const EventLink&) = delete;

    /// Connects unless it is connected. A monitor that has no events is not asked again.
    void listen();

private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

} // namespace aerate::hostd
