#include "block/image_lock.hpp"

#include <fcntl.h>

#include <cerrno>
#include <initializer_list>

namespace aerate {
namespace {

constexpr off_t reads = 100;
constexpr off_t writes = 101;
constexpr off_t resizes = 103;
constexpr off_t allows_no_reader = 200;
constexpr off_t allows_no_writer = 201;
constexpr off_t allows_no_resize = 203;

struct flock on_byte(off_t byte, short type) {
    struct flock request{};
    request.l_type = type;
    request.l_whence = SEEK_SET;
    request.l_start = byte;
    request.l_len = 1;
    return request;
}

Result<> set(int fd, short type, std::initializer_list<off_t> bytes) {
    for (const off_t byte : bytes) {
        struct flock request = on_byte(byte, type);
        if (::fcntl(fd, F_OFD_SETLK, &request) != 0)
            return errno == EAGAIN || errno == EACCES ? fail("it is locked as a whole by another program")
                                                      : fail_errno("it cannot be locked");
    }
    return {};
}

/// Fails if anybody else has one of these.
Result<> require_free(int fd, std::initializer_list<off_t> bytes) {
    for (const off_t byte : bytes) {
        struct flock request = on_byte(byte, F_WRLCK);
        if (::fcntl(fd, F_OFD_GETLK, &request) != 0)
            return fail_errno("its locks cannot be inspected");
        if (request.l_type != F_UNLCK)
            return fail("it is in use by another virtual machine");
    }
    return {};
}

} // namespace

Result<> ImageLock::read() const {
    TRY(set(fd_, F_RDLCK, {reads, allows_no_writer, allows_no_resize}));
    return require_free(fd_, {writes, resizes, allows_no_reader});
}

Result<> ImageLock::write() const {
    TRY(set(fd_, F_RDLCK, {reads, writes, allows_no_writer, allows_no_resize}));
    return require_free(fd_, {writes, resizes, allows_no_reader, allows_no_writer});
}

Result<> ImageLock::await() const {
    TRY(set(fd_, F_RDLCK, {reads, allows_no_writer, allows_no_resize}));
    // A writer has it alone, and is taken for the one whose guest comes: take_over() will see. Readers are no such
    // thing.
    if (!require_free(fd_, {writes}))
        return {};
    return require_free(fd_, {resizes, allows_no_reader, allows_no_writer});
}

Result<> ImageLock::take_over() const {
    TRY(set(fd_, F_RDLCK, {writes}));
    auto alone = require_free(fd_, {writes, resizes});
    if (!alone)
        (void)set(fd_, F_UNLCK, {writes});
    return alone;
}

Result<> ImageLock::hand_over() const {
    TRY(set(fd_, F_RDLCK, {allows_no_reader}));
    return set(fd_, F_UNLCK, {writes});
}

Result<> ImageLock::take_back() const {
    TRY(set(fd_, F_RDLCK, {writes}));
    return set(fd_, F_UNLCK, {allows_no_reader});
}

} // namespace aerate
