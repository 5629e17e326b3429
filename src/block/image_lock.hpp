// Which processes use a disk image. The locks are those that QEMU takes and checks (block/file-posix.c, "image
// locking"), so that both keep out of each other's way: a shared lock on one byte for each thing that a user does, and
// on another for each thing that it allows no other process to do.
//
//     byte 100 reads   101 writes   103 resizes        byte 200 allows no reader   201 no writer   203 nobody to resize
//
// They belong to the open file, not to the process (fcntl(2), F_OFD_SETLK). Every user takes its own first and then
// looks for those of others, so of two that come at once at most one stays.
#pragma once

#include "base/error.hpp"

namespace aerate {

class ImageLock {
public:
    /// Locks `fd`, which its owner closes.
    explicit ImageLock(int fd)
        : fd_(fd) {}

    /// Takes the image for reading, beside other readers.
    [[nodiscard]] Result<> read() const;
    /// Takes it for reading and writing, alone.
    [[nodiscard]] Result<> write() const;
    /// Keeps new writers away while another monitor still has it: what a guest's arrival begins with. Fails if it is
    /// read by somebody who counts on its staying as it is.
    [[nodiscard]] Result<> await() const;
    /// Takes the lock as write() does, after await(). Fails while the other monitor, or anyone else, still writes.
    [[nodiscard]] Result<> take_over() const;
    /// Writes no more, and still keeps every monitor away but the one that has awaited it.
    [[nodiscard]] Result<> hand_over() const;
    /// Undoes hand_over(): this monitor writes again.
    [[nodiscard]] Result<> take_back() const;

private:
    int fd_;
};

} // namespace aerate
