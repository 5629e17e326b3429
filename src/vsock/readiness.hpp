// Which of many descriptors something has happened to: an epoll(7) of its own, which the event loop watches as one.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/host.hpp"

#include <sys/epoll.h>

#include <array>
#include <cstdint>

namespace aerate::vsock {

class Readiness {
public:
    [[nodiscard]] static Result<Readiness> create() {
        FileDescriptor fd = host::descriptor([] { return ::epoll_create1(EPOLL_CLOEXEC); });
        if (!fd.valid())
            return fail_errno("cannot create an epoll descriptor");
        return Readiness(std::move(fd));
    }

    [[nodiscard]] int fd() const { return fd_.get(); }
    /// Until `fd` is closed. `id` is what take() says of it.
    [[nodiscard]] Result<> add(int fd, std::uint64_t id, std::uint32_t events) {
        if (host::refuses(host::Resource::watch) || !control(EPOLL_CTL_ADD, fd, id, events))
            return fail_errno("cannot watch a socket");
        return {};
    }
    /// REQUIRES: added.
    void change(int fd, std::uint64_t id, std::uint32_t events) { (void)control(EPOLL_CTL_MOD, fd, id, events); }
    /// Calls happened(id, events) for a bounded number of them. One that was closed meanwhile may still be told.
    template <typename Happened>
    void take(Happened&& happened) {
        std::array<epoll_event, 64> events;
        const int count = ::epoll_wait(fd_.get(), events.data(), events.size(), 0);
        for (int i = 0; i < count; ++i)
            happened(events[static_cast<std::size_t>(i)].data.u64,
                     std::uint32_t{events[static_cast<std::size_t>(i)].events});
    }

private:
    explicit Readiness(FileDescriptor fd)
        : fd_(std::move(fd)) {}
    bool control(int operation, int fd, std::uint64_t id, std::uint32_t events) {
        epoll_event event{.events = events, .data = {.u64 = id}};
        return ::epoll_ctl(fd_.get(), operation, fd, &event) == 0;
    }
    FileDescriptor fd_;
};

} // namespace aerate::vsock
