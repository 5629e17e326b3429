#include "memory/residency.hpp"

#include <fcntl.h>

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

namespace aerate {
namespace {

// PAGEMAP_SCAN as Documentation/admin-guide/mm/pagemap.rst has it; younger than the oldest headers we build with.
struct ScannedRange {
    std::uint64_t start;
    std::uint64_t end;
    std::uint64_t categories;
};
struct ScanArguments {
    std::uint64_t size;
    std::uint64_t flags;
    std::uint64_t start;
    std::uint64_t end;
    std::uint64_t walk_end;
    std::uint64_t ranges;
    std::uint64_t ranges_max;
    std::uint64_t pages_max;
    std::uint64_t category_inverted;
    std::uint64_t category_mask;
    std::uint64_t category_anyof_mask;
    std::uint64_t return_mask;
};
constexpr unsigned long pagemap_scan = _IOWR('f', 16, ScanArguments);
constexpr std::uint64_t page_is_present = 1U << 3;
constexpr std::uint64_t page_is_pfnzero = 1U << 5;

// Bounds how long one call holds mmap_lock, and the buffer of mincore.
constexpr ByteCount chunk_size{64U << 20};

/// A stretch of one region, small enough for one look.
struct Chunk {
    std::byte* host;
    PageRange frames;
};

std::uint64_t address_in_host(const Chunk& chunk) {
    return reinterpret_cast<std::uintptr_t>(chunk.host);
}

/// Collects the ranges found resident; with a bitmap, only the pages set there.
class Tally {
public:
    explicit Tally(const PageBitmap* within)
        : within_(within) {}
    void add(PageRange range) { total_ += within_ != nullptr ? within_->count(range) : range.count; }
    [[nodiscard]] bool wants(PageRange range) const {
        return within_ == nullptr || within_->count(range) > PageCount{0};
    }
    [[nodiscard]] PageCount total() const { return total_; }

private:
    const PageBitmap* within_;
    PageCount total_{};
};

bool scan(const FileDescriptor& pagemap, const Chunk& chunk, Tally& tally) {
    std::array<ScannedRange, 256> ranges;
    const std::uint64_t first = address_in_host(chunk);
    const std::uint64_t end = first + bytes_of(chunk.frames.count).value;
    for (std::uint64_t next = first; next < end;) {
        ScanArguments arguments{};
        arguments.size = sizeof(arguments);
        arguments.start = next;
        arguments.end = end;
        arguments.ranges = reinterpret_cast<std::uintptr_t>(ranges.data());
        arguments.ranges_max = ranges.size();
        arguments.category_inverted = page_is_pfnzero;
        arguments.category_mask = page_is_present | page_is_pfnzero;
        arguments.return_mask = page_is_present;
        const int found = ::ioctl(pagemap.get(), pagemap_scan, &arguments);
        if (found < 0 || arguments.walk_end <= next)
            return false;
        for (const ScannedRange& range : std::span(ranges).first(static_cast<std::size_t>(found)))
            tally.add({{chunk.frames.first.value + ((range.start - first) >> page_shift)},
                       whole_pages_of({range.end - range.start})});
        next = arguments.walk_end;
    }
    return true;
}

void look(const Chunk& chunk, Tally& tally) {
    std::array<unsigned char, chunk_size.value / page_size.value> pages;
    if (::mincore(chunk.host, bytes_of(chunk.frames.count).value, pages.data()) != 0)
        return;
    const auto is_resident = [](unsigned char page) { return (page & 1U) != 0; };
    const auto end = pages.begin() + static_cast<std::ptrdiff_t>(chunk.frames.count.value);
    for (auto first = std::find_if(pages.begin(), end, is_resident); first != end;) {
        const auto last = std::find_if_not(first, end, is_resident);
        tally.add({{chunk.frames.first.value + static_cast<std::uint64_t>(first - pages.begin())},
                   {static_cast<std::uint64_t>(last - first)}});
        first = std::find_if(last, end, is_resident);
    }
}

} // namespace

Residency::Residency(Backing backing, std::span<const MappedRegion> regions)
    : backing_(backing)
    , regions_(regions) {
    if (backing == Backing::memfd)
        return;
    FileDescriptor pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    Tally nothing(nullptr);
    if (pagemap.valid() && scan(pagemap, {regions.front().host, {{0}, {1}}}, nothing))
        pagemap_ = std::move(pagemap);
}

ByteCount Residency::total() const {
    if (backing_ != Backing::memfd)
        return bytes_of(count(nullptr));
    struct stat status{};
    ::fstat(regions_.front().fd, &status);
    return {static_cast<std::uint64_t>(status.st_blocks) * 512};
}

PageCount Residency::within(const PageBitmap& bitmap) const {
    return count(&bitmap);
}

PageCount Residency::count(const PageBitmap* within) const {
    Tally tally(within);
    for (const MappedRegion& region : regions_) {
        for (ByteCount offset{}; offset < region.guest.length; offset += chunk_size) {
            const ByteCount length = std::min(chunk_size, region.guest.length - offset);
            const Chunk chunk{region.host + offset.value,
                              {frame_of({region.guest.start.value + offset.value}), whole_pages_of(length)}};
            if (!tally.wants(chunk.frames))
                continue;
            // Both fail only when the kernel is out of memory: then the rest of the chunk counts as not resident.
            if (can_scan())
                scan(pagemap_, chunk, tally);
            else
                look(chunk, tally);
        }
    }
    return tally.total();
}

} // namespace aerate
