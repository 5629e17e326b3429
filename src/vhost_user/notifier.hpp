// The descriptors by which a ring's two sides wake each other. They are the front-end's choice, and stay shared with
// it: what is not of a kind that serves is refused at the edge (V1, V7), and nothing here relies on O_NONBLOCK, which
// it can clear. A kick has to be an eventfd: of a pipe or a socket, a reader that is held up in a page of its own keeps
// the lock that every other one waits for.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

namespace aerate::vhost_user {

class EventfdSignal;

[[nodiscard]] bool is_unix_socket(const FileDescriptor&);

/// To the front-end: an eventfd, or a unix socket, as User Mode Linux has it.
class Notifier {
public:
    Notifier() = default; ///< nobody listens
    [[nodiscard]] static Result<Notifier> of(FileDescriptor);
    /// Never blocks. A counter or a socket that is full has a wake-up in it that was not taken yet.
    void signal() const;

private:
    FileDescriptor fd_;
    const EventfdSignal* eventfd_ = nullptr; ///< nothing: a socket
};

/// From the front-end: an eventfd.
class Kick {
public:
    [[nodiscard]] static Result<Kick> of(FileDescriptor);
    [[nodiscard]] int fd() const { return fd_.get(); }
    /// Takes what is there; never blocks. False: nothing can ever be taken, and the descriptor is to be watched no
    /// longer.
    [[nodiscard]] bool drain() const;

private:
    FileDescriptor fd_;
};

} // namespace aerate::vhost_user
