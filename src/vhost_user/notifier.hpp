// The descriptors by which a ring's two sides wake each other. They are the front-end's choice: what is not of a kind
// that serves is refused at the edge (V1, V7), since a file would block, and an epoll of epolls can break the one that
// it is put into.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

namespace aerate::vhost_user {

/// To the front-end: an eventfd, or a socket, as User Mode Linux has it.
class Notifier {
public:
    Notifier() = default; ///< nobody listens
    [[nodiscard]] static Result<Notifier> of(FileDescriptor);
    /// Never blocks. A counter or a socket that is full has a wake-up in it that was not taken yet.
    void signal() const;

private:
    FileDescriptor fd_;
    bool is_socket_ = false;
};

/// From the front-end: an eventfd, a socket or a pipe.
class Kick {
public:
    [[nodiscard]] static Result<Kick> of(FileDescriptor);
    [[nodiscard]] int fd() const { return fd_.get(); }
    /// Takes a bounded part of what is there; what is left wakes the loop again. False: nothing will ever come, and the
    /// descriptor is to be watched no longer.
    [[nodiscard]] bool drain() const;

private:
    FileDescriptor fd_;
};

} // namespace aerate::vhost_user
