// Signals an eventfd that another process shares, and so never blocks.
//
// A write to an eventfd waits while its counter is full, unless O_NONBLOCK is set; but that flag lives in the open file
// description, which the front-end has too and can clear at any time. The kernel refuses RWF_NOWAIT for such a write.
// So the kernel is had to signal by itself: a read of nothing, as asynchronous I/O (io_submit(2)), whose completion is
// told to an eventfd. That adds to the counter what fits, and never blocks.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <cstdint>

namespace aerate::vhost_user {

class EventfdSignal {
public:
    /// Returns the one of this process, made when it is first needed. Fails where the kernel has no asynchronous I/O,
    /// or none left (fs.aio-max-nr). Any thread.
    [[nodiscard]] static Result<const EventfdSignal*> get();
    /// Signals an eventfd, from any thread. A counter that is full stays as it is.
    void send(int eventfd) const;

private:
    EventfdSignal(std::uint64_t context, FileDescriptor nothing)
        : context_(context)
        , nothing_(std::move(nothing)) {}
    [[nodiscard]] static Result<EventfdSignal> create();
    std::uint64_t context_; ///< aio_context_t
    FileDescriptor nothing_;
};

} // namespace aerate::vhost_user
