// What happens to a VM, said to everybody who listens: GET /aerate/events. The feed belongs to the process, and
// outlives the machine of a guest that resets itself.
//
// Main loop.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>

namespace aerate::control {

/// One event as it travels; shared, since everybody hears the same.
using EventText = std::shared_ptr<const std::string>;

class EventFeed {
public:
    class Listener {
    public:
        /// May take the listener out of the feed.
        virtual void hear(const EventText&) = 0;

    protected:
        ~Listener() = default;
    };

    void add(Listener& listener) { listeners_.insert(&listener); }
    void remove(Listener& listener) { listeners_.erase(&listener); }
    /// Returns whether anybody listens: else there is nothing to be printed.
    [[nodiscard]] bool heard() const { return !listeners_.empty(); }
    void publish(std::string text) {
        const EventText shared = std::make_shared<const std::string>(std::move(text));
        const auto all = listeners_; // one may leave, and take no other with it
        for (Listener* listener : all)
            if (listeners_.contains(listener))
                listener->hear(shared);
    }

private:
    std::set<Listener*> listeners_;
};

} // namespace aerate::control
