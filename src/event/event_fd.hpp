// An eventfd: how one side wakes another that sleeps. Also what KVM's ioeventfd and irqfd are made of.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

namespace aerate {

class EventFd {
public:
    [[nodiscard]] static Result<EventFd> create();
    /// Wakes the reader. Never blocks; any thread, async-signal-safe.
    void signal() const;
    /// Takes the pending wake-ups; false if there were none.
    bool drain() const;
    [[nodiscard]] int fd() const { return fd_.get(); }

private:
    explicit EventFd(FileDescriptor fd)
        : fd_(std::move(fd)) {}
    FileDescriptor fd_;
};

} // namespace aerate
