#include "memory/restore.hpp"

#include "base/regular_file.hpp"
#include "memory/mapping.hpp"

#include <unistd.h>

#include <sys/mman.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace aerate {
namespace {

/// The part of a piece that lies in one region.
struct Part {
    const MappedRegion* region;
    FilePiece piece;
};

Result<std::vector<Part>> parts_of(std::span<const MappedRegion> regions, std::span<const FilePiece> pieces) {
    std::vector<Part> parts;
    FrameNumber previous_end{};
    for (const FilePiece& piece : pieces) {
        const auto& [pages, fd, offset] = piece;
        if (pages.count.value == 0 || pages.end() <= pages.first || pages.first < previous_end)
            return fail("the piece of memory at page {:#x} is empty, out of order or overlaps another",
                        pages.first.value);
        if (offset.value % page_size.value != 0)
            return fail("the piece of memory at page {:#x} is at {} of its file, where no page begins",
                        pages.first.value, offset.value);
        PageCount found{};
        for (const MappedRegion& region : regions) {
            const PageRange in_region = intersection(pages, frames_of(region.guest));
            if (in_region.count.value == 0)
                continue;
            const ByteCount before = bytes_of({in_region.first.value - pages.first.value});
            parts.push_back({&region, {.pages = in_region, .fd = fd, .offset = offset + before}});
            found += in_region.count;
        }
        if (found != pages.count)
            return fail("the piece of memory at page {:#x} is not all in RAM", pages.first.value);
        previous_end = pages.end();
    }
    return parts;
}

/// Parts shorter than this are read, so that no more than mapped_pieces_max are mapped.
PageCount shortest_mapped(std::span<const Part> parts) {
    if (parts.size() <= GuestMemory::mapped_pieces_max)
        return {0};
    std::vector<std::uint64_t> lengths;
    for (const Part& part : parts)
        lengths.push_back(part.piece.pages.count.value);
    const auto last_read = lengths.begin() + GuestMemory::mapped_pieces_max;
    std::ranges::nth_element(lengths, last_read, std::greater());
    return {*last_read + 1};
}

Result<> read_part(const Part& part) {
    auto read = read_at(part.piece.fd, host_bytes(*part.region, part.piece.pages), part.piece.offset);
    if (!read)
        return fail_because(std::move(read).error(), "the file that holds guest memory");
    return {};
}

/// Reads small parts that are apart from each other, each of which would otherwise take a huge page.
Result<> read_parts(std::span<const MappedRegion> regions, Backing backing, std::span<const Part> parts) {
    const auto advise = [&](int advice) {
        for (const MappedRegion& region : regions) {
            if (backing == Backing::anonymous)
                ::madvise(region.host, region.guest.length.value, advice);
        }
    };
    advise(MADV_NOHUGEPAGE);
    for (const Part& part : parts)
        TRY(read_part(part));
    advise(MADV_HUGEPAGE);
    return {};
}

} // namespace

Result<> restore_pieces(std::span<const MappedRegion> regions, Backing backing, std::span<const FilePiece> pieces,
                        FileBacking& files) {
    auto parts = TRY(parts_of(regions, pieces));
    const PageCount shortest = backing == Backing::anonymous ? shortest_mapped(parts) : PageCount{~0ULL};
    const auto mapped =
        std::ranges::partition(parts, [&](const Part& part) { return part.piece.pages.count < shortest; });
    const std::span to_read(parts.begin(), mapped.begin());
    // Before anything is mapped, because its advice is for all of the memory.
    if (!to_read.empty())
        TRY(read_parts(regions, backing, to_read));
    for (const Part& part : mapped)
        TRY(files.map(*part.region, part.piece));
    if (!mapped.empty())
        TRY(files.watch(regions));
    // Once for all of them: a call for each piece would take longer than mapping it. Not MADV_HUGEPAGE: a private copy
    // of a file's page is never huge.
    for (const MappedRegion& region : regions)
        advise_private(host_bytes(region, frames_of(region.guest)));
    return {};
}

} // namespace aerate
