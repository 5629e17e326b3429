#include "memory/file_backing.hpp"

#include "base/host.hpp"
#include "base/log.hpp"
#include "memory/fixed_mapping.hpp"
#include "memory/mapping.hpp"

#include <fcntl.h>

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace aerate {
namespace {

constexpr int advice_populate_read = 22; // MADV_POPULATE_READ (Linux 5.14)

std::optional<std::uint64_t> length_of(int fd) {
    struct stat status{};
    if (::fstat(fd, &status) != 0)
        return std::nullopt;
    return static_cast<std::uint64_t>(status.st_size);
}

Result<> check_length(const FilePiece& piece) {
    const auto found = length_of(piece.fd);
    if (!found)
        return fail_errno("cannot inspect the file that holds guest memory");
    const std::uint64_t length = *found;
    if (piece.offset.value > length || bytes_of(piece.pages.count).value > length - piece.offset.value)
        return fail("the file that holds guest memory ends at {}, before {} bytes at {}", length,
                    bytes_of(piece.pages.count).value, piece.offset.value);
    return {};
}

} // namespace

Result<> FileBacking::map(const MappedRegion& region, const FilePiece& piece) {
    TRY(check_length(piece));
    TRY(remember(piece));
    const auto bytes = host_bytes(region, piece.pages);
    if (map_over(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, piece.fd,
                 static_cast<off_t>(piece.offset.value)) != FixedMapping::made)
        return fail_errno("cannot map {} bytes of the file that holds guest memory (if for lack of mappings, raise "
                          "vm.max_map_count)",
                          bytes.size());
    pages_.set(piece.pages);
    return {};
}

Result<> FileBacking::remember(const FilePiece& piece) {
    const ByteCount end = piece.offset + bytes_of(piece.pages.count);
    const auto known = std::ranges::find(files_, piece.fd, &File::mapped_by);
    if (known != files_.end()) {
        known->needed = std::max(known->needed, end);
        return {};
    }
    FileDescriptor own = host::descriptor([&] { return ::fcntl(piece.fd, F_DUPFD_CLOEXEC, 0); });
    if (!own.valid())
        return fail_errno("cannot keep the file that holds guest memory open");
    files_.push_back({.mapped_by = piece.fd, .file = std::move(own), .needed = end});
    return {};
}

Result<> FileBacking::watch(std::span<const MappedRegion> regions) {
    loss_event_ = host::descriptor([] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); });
    if (!loss_event_.valid())
        return fail_errno("cannot create an eventfd to watch the file that holds guest memory");
    leases_.reserve(files_.size());
    for (const File& file : files_) {
        if (auto lease = FileLease::take(file.file.get(), loss_event_.get()))
            leases_.push_back(*std::move(lease));
        else if (errno == EAGAIN)
            log::warning("a file that holds guest memory is open for writing: what is changed in it reaches the guest");
    }
    watches_.reserve(regions.size());
    for (const MappedRegion& region : regions)
        watches_.push_back(TRY(FileLossWatch::start(host_bytes(region, frames_of(region.guest)),
                                                    FileLossWatch::StandIn::page, loss_event_.get())));
    return {};
}

bool FileBacking::lost() const {
    // A vCPU that meets such a page raises no SIGBUS here: KVM_RUN fails. So the files are looked at too.
    const auto cut_short = [](const File& file) {
        const auto length = length_of(file.file.get());
        return length && *length < file.needed.value;
    };
    return given_up_.load() || std::ranges::any_of(watches_, &FileLossWatch::lost) ||
           std::ranges::any_of(leases_, &FileLease::broken) || std::ranges::any_of(files_, cut_short);
}

void FileBacking::give_up_files() {
    given_up_.store(true);
    for (FileLease& lease : leases_)
        lease.give_up();
}

bool FileBacking::replace(const MappedRegion& region, PageRange range) {
    const auto bytes = host_bytes(region, range);
    switch (map_over(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    case FixedMapping::made:
        break;
    case FixedMapping::refused:
        return false;
    case FixedMapping::lost:
        // The guest would read its memory and end by a signal, in silence.
        log::error("the host took {} bytes of guest memory away and cannot replace them: {}", bytes.size(),
                   describe_errno(errno));
        std::abort();
    }
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
