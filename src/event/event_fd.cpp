#include "event/event_fd.hpp"

#include "base/host.hpp"

#include <sys/eventfd.h>

#include <cstdint>

namespace aerate {

Result<EventFd> EventFd::create() {
    FileDescriptor fd = host::descriptor([] { return ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); });
    if (!fd.valid())
        return fail_errno("cannot create an eventfd");
    return EventFd(std::move(fd));
}

void EventFd::signal() const {
    const std::uint64_t one = 1;
    // EAGAIN means the counter is full, in which case the reader is awake anyway.
    [[maybe_unused]] const auto written = ::write(fd_.get(), &one, sizeof one);
}

bool EventFd::drain() const {
    std::uint64_t count = 0;
    return ::read(fd_.get(), &count, sizeof count) == static_cast<ssize_t>(sizeof count);
}

} // namespace aerate
