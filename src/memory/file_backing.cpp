#include "memory/file_backing.hpp"

#include "memory/mapping.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>

namespace aerate {
namespace {

constexpr int advice_populate_read = 22; // MADV_POPULATE_READ (Linux 5.14)

Result<> check_length(const FilePiece& piece) {
    // A page beyond the end of the file would be a SIGBUS when the guest touches it.
    struct stat status{};
    if (::fstat(piece.fd, &status) != 0)
        return fail_errno("cannot look at the file that holds guest memory");
    const auto length = static_cast<std::uint64_t>(status.st_size);
    if (piece.offset.value > length || bytes_of(piece.pages.count).value > length - piece.offset.value)
        return fail("the file that holds guest memory ends at {}, before {} bytes at {}", length,
                    bytes_of(piece.pages.count).value, piece.offset.value);
    return {};
}

} // namespace

Result<> FileBacking::map(const MappedRegion& region, const FilePiece& piece) {
    TRY(check_length(piece));
    const auto bytes = host_bytes(region, piece.pages);
    if (::mmap(bytes.data(), bytes.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, piece.fd,
               static_cast<off_t>(piece.offset.value)) == MAP_FAILED)
        return fail_errno("cannot map {} bytes of the file that holds guest memory (if for lack of mappings, raise "
                          "vm.max_map_count)",
                          bytes.size());
    pages_.set(piece.pages);
    return {};
}

bool FileBacking::replace(const MappedRegion& region, PageRange range) {
    const auto bytes = host_bytes(region, range);
    if (::mmap(bytes.data(), bytes.size(), PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
        return false;
    advise_huge(bytes);
    advise_private(bytes);
    pages_.clear(range);
    return true;
}

void FileBacking::prefetch(const MappedRegion& region, PageRange range) const {
    for (PageRange run = pages_.next_run(range.first); run.count > PageCount{0} && run.first < range.end();
         run = pages_.next_run(run.end())) {
        run.count.value = std::min(run.end(), range.end()).value - run.first.value;
        const auto bytes = host_bytes(region, run);
        if (::madvise(bytes.data(), bytes.size(), advice_populate_read) != 0)
            ::madvise(bytes.data(), bytes.size(), MADV_WILLNEED);
    }
}

} // namespace aerate
