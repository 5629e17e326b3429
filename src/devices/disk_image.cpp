#include "devices/disk_image.hpp"

#include "devices/block_request.hpp"

#include <fcntl.h>

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>

namespace aerate {
namespace {

struct Geometry {
    std::uint64_t size = 0;
    std::uint32_t block_size = sector_size;
};

Result<Geometry> measure(int fd, const struct stat& status, const DiskOptions& options) {
    Geometry geometry;
    // Files do not say what direct I/O needs on older kernels; 4096 is enough for each of them.
    constexpr std::uint32_t direct_file_block = 4096;
    if (S_ISBLK(status.st_mode)) {
        int logical_block = 0;
        if (::ioctl(fd, BLKGETSIZE64, &geometry.size) != 0 || ::ioctl(fd, BLKSSZGET, &logical_block) != 0)
            return fail_errno("cannot tell the size of disk {}", options.path);
        if (options.direct && logical_block > 0)
            geometry.block_size = static_cast<std::uint32_t>(logical_block);
    } else {
        geometry.size = static_cast<std::uint64_t>(status.st_size);
        if (options.direct)
            geometry.block_size = direct_file_block;
    }
    geometry.size -= geometry.size % geometry.block_size;
    return geometry;
}

bool set_lock(int fd, short type) {
    struct flock request{};
    request.l_type = type;
    request.l_whence = SEEK_SET;
    return ::fcntl(fd, F_OFD_SETLK, &request) == 0;
}

Result<> lock(int fd, const DiskOptions& options) {
    if (options.arriving || set_lock(fd, options.read_only ? F_RDLCK : F_WRLCK))
        return {};
    if (errno == EAGAIN || errno == EACCES)
        return fail("disk {} is in use by another virtual machine: stop it, give each its own copy, or attach the disk "
                    "read-only to all of them",
                    options.path);
    return fail_errno("cannot lock disk {}", options.path);
}

} // namespace

Result<DiskImage> DiskImage::open(const DiskOptions& options) {
    const int access = options.read_only ? O_RDONLY : O_RDWR;
    struct stat status{};
    // Before opening, because opening a FIFO waits for its other end.
    if (::stat(options.path.c_str(), &status) != 0)
        return fail_errno("cannot open disk {}", options.path);
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return fail("disk {} is neither a file nor a block device", options.path);
    FileDescriptor fd(::open(options.path.c_str(), access | O_CLOEXEC | O_NOCTTY | (options.direct ? O_DIRECT : 0)));
    if (!fd.valid())
        return fail_errno("cannot open disk {} for {}", options.path, options.read_only ? "reading" : "writing");
    if (::fstat(fd.get(), &status) != 0)
        return fail_errno("cannot inspect disk {}", options.path);

    TRY(lock(fd.get(), options));
    const Geometry geometry = TRY(measure(fd.get(), status, options));
    if (geometry.size == 0)
        return fail("disk {} is smaller than one block of {} bytes", options.path, geometry.block_size);
    return DiskImage(std::move(fd), options.read_only, ByteCount{geometry.size}, geometry.block_size);
}

void DiskImage::share() const {
    (void)set_lock(fd_.get(), F_RDLCK);
}

Result<> DiskImage::arrive() const {
    if (!set_lock(fd_.get(), F_RDLCK))
        return fail_errno("a disk of the guest that arrives is still another virtual machine's alone");
    (void)::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
    return {};
}

void DiskImage::take_back() const {
    if (!read_only_)
        (void)set_lock(fd_.get(), F_WRLCK);
}

} // namespace aerate
