#include "boot/file.hpp"

#include "base/host.hpp"
#include "base/regular_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/stat.h>

namespace aerate {
namespace {

Result<BootFile> boot_file(Result<RegularFile> file, const std::string& path, const char* what) {
    if (!file)
        return fail_because(std::move(file).error(), "cannot use the {} {}", what, path);
    return BootFile{.path = path,
                    .what = what,
                    .fd = std::move(file->fd),
                    .length = file->length,
                    .modified_ns = file->modified_ns};
}

} // namespace

Result<BootFile> BootFile::open(const std::string& path, const char* what) {
    return boot_file(open_regular(path, Link::follow), path, what);
}

Result<BootFile> BootFile::adopt(FileDescriptor fd, const std::string& path, const char* what) {
    return boot_file(regular_file(std::move(fd)), path, what);
}

Result<> BootFile::read(std::span<std::byte> into) const {
    auto filled = read_at(fd.get(), into, offset);
    if (!filled)
        return fail_because(std::move(filled).error(), "cannot use the {} {}", what, path);
    return {};
}

bool BootFile::has_changed() const {
    struct stat now{};
    return modified_ns && (::fstat(fd.get(), &now) != 0 || modified_ns_of(now) != *modified_ns ||
                           static_cast<std::uint64_t>(now.st_size) != length.value);
}

Result<IncomingBootFile> IncomingBootFile::create(const char* what) {
    // hier(7): files here may stay, so it is no memory file system.
    FileDescriptor fd = host::descriptor([] { return ::open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); });
    if (!fd.valid())
        fd = host::descriptor([] { return ::memfd_create("aerate-boot", MFD_CLOEXEC); });
    if (!fd.valid())
        return fail_errno("cannot make a file for the {} that came with the guest", what);
    return IncomingBootFile(std::move(fd), what);
}

Result<> IncomingBootFile::append(std::span<const std::byte> bytes) {
    if (auto written = write_at(fd_.get(), bytes, length_); !written)
        return fail_because(std::move(written).error(), "cannot keep the {} that came with the guest", what_);
    length_ += ByteCount{bytes.size()};
    return {};
}

BootFile IncomingBootFile::finish(std::string from) && {
    return BootFile{.path = std::move(from), .what = what_, .fd = std::move(fd_), .length = length_};
}

} // namespace aerate
