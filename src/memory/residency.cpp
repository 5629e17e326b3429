#include "memory/residency.hpp"

#include "base/host.hpp"
#include "memory/own_maps.hpp"

#include <fcntl.h>

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

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
constexpr std::uint64_t page_is_file = 1U << 2;
constexpr std::uint64_t page_is_present = 1U << 3;
constexpr std::uint64_t page_is_swapped = 1U << 4;
constexpr std::uint64_t page_is_pfnzero = 1U << 5;

// An entry of /proc/self/pagemap, from the same page.
constexpr std::uint64_t entry_is_file = 1ULL << 61;
constexpr std::uint64_t entry_is_swapped = 1ULL << 62;
constexpr std::uint64_t entry_is_present = 1ULL << 63;

// Bounds how long one call holds mmap_lock, and the buffers.
constexpr ByteCount chunk_size{64U << 20};
// A scan passes over what has no page tables in no time, and stops by itself when it has found as much as a chunk.
constexpr ByteCount scanned_size{1U << 30};

/// A stretch of one region, small enough for one look.
struct Chunk {
    std::byte* host;
    PageRange frames;
};

std::uint64_t address_in_host(const Chunk& chunk) {
    return reinterpret_cast<std::uintptr_t>(chunk.host);
}

/// Calls visit(range) for each run of elements, one a page of the chunk, that `is` holds for.
template <typename Element, typename Is, typename Visit>
void visit_runs(const Chunk& chunk, std::span<const Element> pages, Is&& is, Visit&& visit) {
    for (auto first = std::ranges::find_if(pages, is); first != pages.end();) {
        const auto last = std::find_if_not(first, pages.end(), is);
        visit(PageRange{{chunk.frames.first.value + static_cast<std::uint64_t>(first - pages.begin())},
                        {static_cast<std::uint64_t>(last - first)}});
        first = std::find_if(last, pages.end(), is);
    }
}

template <typename Visit>
bool look(const Chunk& chunk, Visit&& visit) {
    std::array<unsigned char, chunk_size.value / page_size.value> pages;
    if (::mincore(chunk.host, bytes_of(chunk.frames.count).value, pages.data()) != 0)
        return false;
    visit_runs(
        chunk, std::span<const unsigned char>(pages).first(chunk.frames.count.value),
        [](unsigned char page) { return (page & 1U) != 0; }, visit);
    return true;
}

} // namespace

/// What is asked of each page, for PAGEMAP_SCAN and for an entry of /proc/self/pagemap.
struct Residency::Question {
    std::uint64_t category_inverted;
    std::uint64_t category_mask;
    std::uint64_t category_anyof_mask;
    std::uint64_t entry_has; ///< any of these bits
    std::uint64_t entry_lacks;
    bool in_doubt; ///< the answer for pages that the kernel does not tell about

    static const Question resident;
    static const Question shared;
    static const Question mapped;
    static const Question populated;

    template <typename Visit>
    bool scan(const FileDescriptor& pagemap, const Chunk& chunk, Visit&& visit) const;
    template <typename Visit>
    bool read_entries(const FileDescriptor& pagemap, const Chunk& chunk, Visit&& visit) const;
};

constexpr Residency::Question Residency::Question::resident{.category_inverted = page_is_pfnzero | page_is_file,
                                                            .category_mask =
                                                                page_is_present | page_is_pfnzero | page_is_file,
                                                            .category_anyof_mask = 0,
                                                            .entry_has = entry_is_present,
                                                            .entry_lacks = entry_is_file,
                                                            .in_doubt = false};
// An entry has its file bit only where it is present too, but for some that are swapped out (fs/proc/task_mmu.c).
constexpr Residency::Question Residency::Question::shared{.category_inverted = 0,
                                                          .category_mask = page_is_present | page_is_file,
                                                          .category_anyof_mask = 0,
                                                          .entry_has = entry_is_file,
                                                          .entry_lacks = entry_is_swapped,
                                                          .in_doubt = false};
constexpr Residency::Question Residency::Question::mapped{.category_inverted = 0,
                                                          .category_mask = page_is_present,
                                                          .category_anyof_mask = 0,
                                                          .entry_has = entry_is_present,
                                                          .entry_lacks = 0,
                                                          .in_doubt = false};
constexpr Residency::Question Residency::Question::populated{.category_inverted = page_is_pfnzero,
                                                             .category_mask = page_is_pfnzero,
                                                             .category_anyof_mask = page_is_present | page_is_swapped,
                                                             .entry_has = entry_is_present | entry_is_swapped,
                                                             .entry_lacks = 0,
                                                             .in_doubt = true};

template <typename Visit>
bool Residency::Question::scan(const FileDescriptor& pagemap, const Chunk& chunk, Visit&& visit) const {
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
        arguments.pages_max = whole_pages_of(chunk_size).value;
        arguments.category_inverted = category_inverted;
        arguments.category_mask = category_mask;
        arguments.category_anyof_mask = category_anyof_mask;
        arguments.return_mask = page_is_present;
        const int found = ::ioctl(pagemap.get(), pagemap_scan, &arguments);
        if (found < 0 || arguments.walk_end <= next)
            return false;
        for (const ScannedRange& range : std::span(ranges).first(static_cast<std::size_t>(found)))
            visit(PageRange{{chunk.frames.first.value + ((range.start - first) >> page_shift)},
                            whole_pages_of({range.end - range.start})});
        next = arguments.walk_end;
    }
    return true;
}

template <typename Visit>
bool Residency::Question::read_entries(const FileDescriptor& pagemap, const Chunk& chunk, Visit&& visit) const {
    std::array<std::uint64_t, chunk_size.value / page_size.value> entries;
    const std::size_t length = chunk.frames.count.value * sizeof(entries[0]);
    const std::uint64_t offset = (address_in_host(chunk) >> page_shift) * sizeof(entries[0]);
    if (::pread(pagemap.get(), entries.data(), length, static_cast<off_t>(offset)) != static_cast<ssize_t>(length))
        return false;
    visit_runs(
        chunk, std::span<const std::uint64_t>(entries).first(chunk.frames.count.value),
        [this](std::uint64_t entry) { return (entry & entry_has) != 0 && (entry & entry_lacks) == 0; }, visit);
    return true;
}

Residency::Residency(Backing backing, std::span<const MappedRegion> regions, Method best)
    : backing_(backing)
    , regions_(regions) {
    if (backing == Backing::memfd || best == Method::mincore)
        return;
    pagemap_ = own_pagemap();
    if (!pagemap_.valid())
        return;
    const Chunk first_page{regions.front().host, {{0}, {1}}};
    const bool scans = best == Method::pagemap_scan && Question::resident.scan(pagemap_, first_page, [](PageRange) {});
    method_ = scans ? Method::pagemap_scan : Method::pagemap;
}

template <typename Visit>
void Residency::visit(const Question& question, PageRange in, const PageBitmap* within, Visit&& visit) const {
    const PageCount step =
        whole_pages_of(method_ == Method::pagemap_scan && within == nullptr ? scanned_size : chunk_size);
    for (const MappedRegion& region : regions_) {
        const FrameNumber begin = frame_of(region.guest.start);
        PageRange left = intersection(in, {begin, whole_pages_of(region.guest.length)});
        for (; left.count > PageCount{0};
             left = {{left.first.value + step.value}, left.count - std::min(step, left.count)}) {
            const PageRange frames{left.first, std::min(step, left.count)};
            const Chunk chunk{region.host + bytes_of({frames.first.value - begin.value}).value, frames};
            if (within != nullptr && within->count(chunk.frames) == PageCount{0})
                continue;
            // These fail only when the kernel is out of memory.
            const bool told = method_ == Method::pagemap_scan ? question.scan(pagemap_, chunk, visit)
                              : method_ == Method::pagemap    ? question.read_entries(pagemap_, chunk, visit)
                                                              : !question.in_doubt && look(chunk, visit);
            if (!told && question.in_doubt)
                visit(chunk.frames);
        }
    }
}

ByteCount Residency::total() const {
    if (backing_ == Backing::memfd) {
        // Each file once, whatever parts of it are regions.
        ByteCount of_files{};
        std::vector<std::pair<dev_t, ino_t>> counted;
        for (const MappedRegion& region : regions_) {
            struct stat status{};
            if (::fstat(region.fd, &status) != 0 ||
                std::ranges::find(counted, std::pair(status.st_dev, status.st_ino)) != counted.end())
                continue;
            counted.emplace_back(status.st_dev, status.st_ino);
            of_files += {static_cast<std::uint64_t>(status.st_blocks) * 512};
        }
        return of_files;
    }
    PageCount total{};
    visit(Question::resident, every_page, nullptr, [&](PageRange range) { total += range.count; });
    return bytes_of(total);
}

ByteCount Residency::shared() const {
    if (backing_ == Backing::memfd || method_ == Method::mincore)
        return {};
    PageCount shared{};
    visit(Question::shared, every_page, nullptr, [&](PageRange range) { shared += range.count; });
    return bytes_of(shared);
}

PageCount Residency::within(const PageBitmap& bitmap) const {
    PageCount found{};
    if (backing_ != Backing::memfd) {
        visit(Question::resident, every_page, &bitmap, [&](PageRange range) { found += bitmap.count(range); });
        return found;
    }
    PageCount data{};
    visit_data(every_page, [&](PageRange range) {
        data += range.count;
        found += bitmap.count(range);
    });
    // hugetlbfs does not tell where its holes are, only how much there is. They are taken to be where one asks.
    const PageCount holes = data - std::min(data, whole_pages_of(total()));
    return found - std::min(found, holes);
}

void Residency::collect_resident(PageBitmap& into, const PageBitmap* of) const {
    const auto add = [&](PageRange range) {
        if (of == nullptr)
            into.set(range);
        else
            into.add(*of, range);
    };
    if (backing_ != Backing::memfd)
        return visit(Question::resident, every_page, of, add);
    if (of == nullptr)
        return visit_data(every_page, add);
    for_each_run(*of, [&](PageRange run) { visit_data(run, add); });
}

void Residency::collect_touched(const PageBitmap& pages, PageBitmap& into) const {
    visit(Question::mapped, every_page, &pages, [&](PageRange range) { into.add(pages, range); });
}

void Residency::collect_populated(PageRange in, PageBitmap& into) const {
    const auto set = [&](PageRange range) { into.set(range); };
    if (backing_ == Backing::memfd)
        visit_data(in, set);
    else
        visit(Question::populated, in, nullptr, set);
}

/// Visits what is in the file, whichever process maps it, in RAM or swapped out (shmem_file_llseek in mm/shmem.c).
template <typename Visit>
void Residency::visit_data(PageRange in, Visit&& visit) const {
    for (const MappedRegion& region : regions_) {
        const FrameNumber begin = frame_of(region.guest.start);
        const PageRange frames = intersection(in, {begin, whole_pages_of(region.guest.length)});
        if (frames.count == PageCount{0})
            continue;
        const auto first =
            static_cast<off_t>(region.fd_offset.value + bytes_of({frames.first.value - begin.value}).value);
        const off_t end = first + static_cast<off_t>(bytes_of(frames.count).value);
        off_t data = ::lseek(region.fd, first, SEEK_DATA);
        if (data < 0 && errno != ENXIO) // it is unknown; ENXIO says that there is no more
            data = first;
        while (data >= first && data < end) {
            const off_t told = ::lseek(region.fd, data, SEEK_HOLE);
            const off_t hole = told < 0 ? end : std::min(end, told);
            visit(PageRange{{frames.first.value + (static_cast<std::uint64_t>(data - first) >> page_shift)},
                            whole_pages_of({static_cast<std::uint64_t>(hole - data)})});
            data = ::lseek(region.fd, hole, SEEK_DATA);
        }
    }
}

} // namespace aerate
