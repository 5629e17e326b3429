#include "vhost_user/shared_file.hpp"

#include "base/host.hpp"
#include "memory/foreign_file.hpp"

#include <sys/mman.h>

#include <utility>

namespace aerate::vhost_user {

Result<SharedFile> SharedFile::map(const char* what, FileDescriptor file, ByteCount offset, ByteCount size,
                                   ByteCount most) {
    const auto examined = examine_foreign_file(file.get());
    if (!examined)
        return fail("the {}: {}", what, examined.error().message);
    const std::uint64_t length = examined->size.value;
    if (size.value == 0 || size > most || offset.value > length || size.value > length - offset.value)
        return fail("the {} of {:#x} bytes is not in its file of {:#x} bytes at {:#x}, or is larger than {:#x}", what,
                    size.value, length, offset.value, most.value);
    // A part of a huge page can be neither unmapped nor replaced.
    if (examined->page_size != page_size)
        return fail("the {} is a file of huge pages: give an ordinary memfd", what);
    const std::uint64_t start = offset.value / page_size.value * page_size.value;
    const std::size_t mapped = offset.value - start + size.value;
    void* const address =
        host::map(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), static_cast<off_t>(start));
    if (address == MAP_FAILED)
        return fail_errno("cannot map the {}", what);
    const std::span mapping(static_cast<std::byte*>(address), mapped);
    SharedFile result(std::move(file), mapping, mapping.subspan(offset.value - start));
    result.watch_.emplace(TRY(FileLossWatch::start(mapping)));
    return result;
}

SharedFile::SharedFile(SharedFile&& other) noexcept
    : file_(std::move(other.file_))
    , mapping_(std::exchange(other.mapping_, {}))
    , bytes_(std::exchange(other.bytes_, {}))
    , watch_(std::move(other.watch_)) {}

SharedFile::~SharedFile() {
    watch_.reset();
    if (!mapping_.empty())
        ::munmap(mapping_.data(), mapping_.size());
}

} // namespace aerate::vhost_user
