// Hearing that a file is about to be changed, before it is.
//
// With a read lease (fcntl(2), F_SETLEASE) whoever opens the file for writing, or truncates it, waits until the lease
// is given up; after 45 s (/proc/sys/fs/lease-break-time) the kernel takes it. Renaming another file over it, or
// removing it, does the holder no harm and waits for nobody. Any number of processes may hold one at the same time.
//
// The kernel says it with SIGIO, whose handler signals an eventfd: of every lease, for SIGIO does not tell them apart.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <optional>
#include <utility>

namespace aerate {

class FileLease {
public:
    /// More than the files of all snapshots that one process restores.
    static constexpr std::size_t leases_max = 1024;

    /// Takes a lease on a file that is open for reading only. `event` is an eventfd. Both must stay open. Returns
    /// nothing, with errno, where none is possible: the file is open for writing now, is another user's, or its
    /// file system has no leases.
    [[nodiscard]] static std::optional<FileLease> take(int fd, int event);
    FileLease(FileLease&& other) noexcept
        : slot_(std::exchange(other.slot_, std::nullopt))
        , fd_(other.fd_) {}
    FileLease& operator=(FileLease&&) = delete;
    ~FileLease() { give_up(); }

    /// Returns whether a process waits to write, has waited for too long, or was let. Any thread.
    [[nodiscard]] bool broken() const;
    /// Lets them.
    void give_up();

private:
    FileLease(std::size_t slot, int fd)
        : slot_(slot)
        , fd_(fd) {}
    std::optional<std::size_t> slot_;
    int fd_;
};

} // namespace aerate
