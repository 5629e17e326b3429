#include "memory/file_lease.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>

namespace aerate {
namespace {

// Read by a signal handler, so atomics. Each holds the eventfd to signal, plus one: 0 is not in use.
std::array<std::atomic<int>, FileLease::leases_max> lease_events;

void signal_lease_events(int) {
    const int saved = errno;
    for (const std::atomic<int>& event : lease_events) {
        const std::uint64_t one = 1;
        if (const int used = event.load(std::memory_order_acquire); used != 0)
            (void)!::write(used - 1, &one, sizeof(one));
    }
    errno = saved;
}

/// Keeps SIGIO from ending the process. Called before the first lease.
bool install_lease_handler() {
    struct sigaction action{};
    action.sa_handler = signal_lease_events;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    return ::sigaction(SIGIO, &action, nullptr) == 0;
}

} // namespace

std::optional<FileLease> FileLease::take(int fd, int event) {
    static const bool installed = install_lease_handler();
    if (!installed)
        return std::nullopt;
    for (std::size_t slot = 0; slot < lease_events.size(); ++slot) {
        int expected = 0;
        if (!lease_events[slot].compare_exchange_strong(expected, event + 1))
            continue;
        FileLease lease(slot, fd);
        // Else the signal is for the thread that takes the lease, and nobody's when that has gone (fs/locks.c,
        // lease_setup).
        if (::fcntl(fd, F_SETOWN, ::getpid()) == 0 && ::fcntl(fd, F_SETLEASE, F_RDLCK) == 0)
            return lease;
        const int error = errno;
        lease.give_up();
        errno = error;
        return std::nullopt;
    }
    errno = ENOLCK;
    return std::nullopt;
}

bool FileLease::broken() const {
    return ::fcntl(fd_, F_GETLEASE) != F_RDLCK;
}

void FileLease::give_up() {
    if (!slot_)
        return;
    ::fcntl(fd_, F_SETLEASE, F_UNLCK);
    lease_events[*slot_].store(0, std::memory_order_release);
    slot_.reset();
}

} // namespace aerate
