#include "block/disk_image.hpp"

#include "base/check.hpp"
#include "base/host.hpp"
#include "block/block_request.hpp"
#include "block/image_format.hpp"
#include "block/image_lock.hpp"

#include <fcntl.h>

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
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
            return fail_errno("cannot determine the size of disk {}", options.path);
        if (options.direct && logical_block > 0)
            geometry.block_size = static_cast<std::uint32_t>(logical_block);
    } else {
        geometry.size = static_cast<std::uint64_t>(status.st_size);
        if (options.direct)
            geometry.block_size = direct_file_block;
    }
    return geometry;
}

Result<> take_lock(const ImageLock& image, const DiskOptions& options) {
    const bool reads = options.read_only || options.is_private;
    auto locked = reads ? image.read() : options.arriving ? image.await() : image.write();
    if (!locked)
        return fail_because(std::move(locked).error(),
                            "cannot use disk {} (stop the VM that has it, give each its own copy, or attach it "
                            "read-only or private to all of them)",
                            options.path);
    return {};
}

/// Refuses what a guest would take for its disk and is not, or is only part of it.
Result<> check_content(int fd, const Geometry& geometry, const DiskOptions& options) {
    if (const std::uint64_t rest = geometry.size % geometry.block_size; rest != 0)
        return fail(
            "disk {} has {} bytes, which is not a multiple of {}: the guest would not see the last {}. \"truncate "
            "-s %{} {}\" fills it up",
            options.path, geometry.size, geometry.block_size, rest, geometry.block_size, options.path);
    if (options.resumed)
        return {};
    std::array<std::byte, format_probe_size> beginning{};
    const ssize_t got = ::pread(fd, beginning.data(), beginning.size(), 0);
    if (got < 0 && errno != EINVAL) // that is O_DIRECT, which wants aligned memory
        return fail_errno("cannot read disk {}", options.path);
    const auto format = foreign_format(std::span(beginning).first(static_cast<std::size_t>(std::max<ssize_t>(got, 0))));
    if (!format.empty())
        return fail(
            "disk {} is an image in the format {}, and the guest would see the image file instead of the disk in it: "
            "\"qemu-img convert -f {} -O raw {} {}.raw\" makes one that it can use",
            options.path, format, format, options.path, options.path);
    return {};
}

/// Never waits, whatever lies at the path: looks before it opens (opening a FIFO waits for its other end, a tape
/// rewinds), and makes sure that it has opened what it has looked at.
Result<FileDescriptor> open_quietly(const DiskOptions& options, struct stat& status) {
    const auto open_as = [&options](int flags) -> Result<FileDescriptor> {
        if (options.within != nullptr) {
            const auto rest = options.within->below(options.path);
            return rest ? options.within->open_file(*rest, flags)
                        : fail("disk {} is not below {}", options.path, options.within->path());
        }
        FileDescriptor fd = host::descriptor([&] { return ::open(options.path.c_str(), flags | O_CLOEXEC); });
        if (!fd.valid())
            return fail_errno("cannot open disk {}{}", options.path, (flags & O_RDWR) != 0 ? " for writing" : "");
        return fd;
    };
    struct stat looked_at{};
    const FileDescriptor look = TRY(open_as(O_PATH));
    if (::fstat(look.get(), &looked_at) != 0)
        return fail_errno("cannot inspect disk {}", options.path);
    if (!S_ISREG(looked_at.st_mode) && !S_ISBLK(looked_at.st_mode))
        return fail("disk {} is neither a file nor a block device", options.path);
    FileDescriptor fd = TRY(open_as((options.read_only || options.is_private ? O_RDONLY : O_RDWR) | O_NOCTTY |
                                    O_NONBLOCK | (options.direct ? O_DIRECT : 0)));
    if (::fstat(fd.get(), &status) != 0)
        return fail_errno("cannot inspect disk {}", options.path);
    if (status.st_dev != looked_at.st_dev || status.st_ino != looked_at.st_ino)
        return fail("disk {} was replaced while it was opened: try again", options.path);
    // io_uring would answer EAGAIN instead of waiting.
    const int flags = ::fcntl(fd.get(), F_GETFL);
    if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK) != 0)
        return fail_errno("cannot use disk {}", options.path);
    return fd;
}

/// Opens the directory of the layer's file.
Result<FileDescriptor> open_directory(const DiskOptions& options, const struct stat& image) {
    constexpr int flags = O_PATH | O_DIRECTORY;
    const auto parent = [](const std::string& path) {
        const auto slash = path.rfind('/');
        return slash == path.npos ? std::string(".") : path.substr(0, std::max<std::size_t>(slash, 1));
    };
    if (!options.private_directory.empty()) {
        FileDescriptor fd =
            host::descriptor([&] { return ::open(options.private_directory.c_str(), flags | O_CLOEXEC); });
        return fd.valid() ? Result<FileDescriptor>(std::move(fd)) : fail_errno("it cannot be opened");
    }
    if (!S_ISREG(image.st_mode))
        return fail("a block device has no directory for it");
    if (options.within != nullptr)
        return options.within->open_file(parent(*options.within->below(options.path)), flags);
    FileDescriptor fd = host::descriptor([&] { return ::open(parent(options.path).c_str(), flags | O_CLOEXEC); });
    return fd.valid() ? Result<FileDescriptor>(std::move(fd)) : fail_errno("it cannot be opened");
}

Result<std::unique_ptr<PrivateLayer>> make_layer(int fd, const struct stat& status, ByteCount size,
                                                 const DiskOptions& options) {
    auto layer = [&]() -> Result<std::unique_ptr<PrivateLayer>> {
        const FileDescriptor directory = TRY(open_directory(options, status));
        return PrivateLayer::create(fd, directory.get(), size);
    }();
    if (!layer && options.private_directory.empty())
        return fail_because(std::move(layer).error(),
                            "cannot keep beside disk {} what its guest writes (name a directory that can: "
                            "private=DIR)",
                            options.path);
    if (!layer)
        return fail_because(std::move(layer).error(), "cannot keep in {} what the guest of disk {} writes",
                            options.private_directory, options.path);
    return layer;
}

} // namespace

Result<DiskImage> DiskImage::open(const DiskOptions& options) {
    struct stat status{};
    FileDescriptor fd = TRY(open_quietly(options, status));
    TRY(take_lock(ImageLock(fd.get()), options));
    const Geometry geometry = TRY(measure(fd.get(), status, options));
    if (geometry.size < geometry.block_size)
        return fail("disk {} is smaller than one block of {} bytes", options.path, geometry.block_size);
    TRY(check_content(fd.get(), geometry, options));
    std::unique_ptr<PrivateLayer> layer;
    if (options.is_private)
        layer = TRY(make_layer(fd.get(), status, ByteCount{geometry.size}, options));
    return DiskImage(std::move(fd), options, ByteCount{geometry.size}, geometry.block_size, std::move(layer));
}

bool DiskImage::is_at(const std::string& path) const {
    struct stat there{};
    struct stat here{};
    return ::stat(path.c_str(), &there) == 0 && ::fstat(fd_.get(), &here) == 0 && there.st_dev == here.st_dev &&
           there.st_ino == here.st_ino;
}

Result<DiskImage> DiskImage::again(const std::string& path) const {
    CHECK(layer_ == nullptr);
    FileDescriptor fd = host::descriptor([&] { return ::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0); });
    struct stat status{};
    if (!fd.valid() || ::fstat(fd.get(), &status) != 0)
        return fail_errno("cannot use disk {}", path);
    // Its guest has written the beginning by now.
    const DiskOptions options{
        .path = path, .label = label_, .on_error = on_error_, .read_only = read_only_, .resumed = true};
    const Geometry geometry{TRY(measure(fd.get(), status, options)).size, block_size_};
    if (geometry.size < geometry.block_size)
        return fail("disk {} is smaller than one block of {} bytes", path, geometry.block_size);
    TRY(check_content(fd.get(), geometry, options));
    return DiskImage(std::move(fd), options, ByteCount{geometry.size}, geometry.block_size, nullptr);
}

std::string DiskImage::described(const DiskOptions& options) {
    std::string text = options.label.empty() ? "disk" : options.label;
    if (options.is_private)
        text += ", private";
    if (!options.private_directory.empty())
        text += " in " + options.private_directory;
    return text;
}

Result<std::unique_ptr<IoEngine>> DiskImage::make_engine(IoEngineKind kind, unsigned depth) const {
    if (layer_ == nullptr)
        return make_io_engine(kind, fd_.get(), depth);
    return make_private_engine(TRY(make_io_engine(kind, layer_->fd(), depth)), *layer_, depth);
}

Result<> DiskImage::sync() const {
    if (writes_image() && host::sync_data(fd_.get()) != 0)
        return fail_errno("cannot flush what was written to disk {}", path_);
    return {};
}

Result<> DiskImage::hand_over() const {
    TRY(sync());
    return writes_image() ? about(lock().hand_over()) : Result<>();
}

Result<> DiskImage::arrive() const {
    if (writes_image())
        TRY(about(lock().take_over()));
    (void)::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
    return {};
}

Result<> DiskImage::take_back() const {
    return writes_image() ? about(lock().take_back()) : Result<>();
}

Result<> DiskImage::about(Result<> locked) const {
    if (!locked)
        return fail_because(std::move(locked).error(), "disk {}", path_);
    return {};
}

} // namespace aerate
