// Memory of snapshots with a key: authenticated in a copy of our own, before the guest can see it.
//
// Why before the start and not when the guest touches a page: the unit that can be authenticated is a chunk, and a
// first touch would wait for one (0.7 ms) where it waits 1 us for a mapped page; a guest that runs for a while touches
// most of its chunks anyway. Why a copy: a user who can write the file could change a mapped page after it was checked.
#include "memory/mapping.hpp"
#include "snapshot/read_chunk.hpp"
#include "snapshot/snapshot.hpp"

#include <algorithm>
#include <cstring>

namespace aerate::snapshot {
namespace {

static_assert(huge_page_size == chunk_size + chunk_size);

} // namespace

/// Fills the pages of one chunk with what the newest file that knows them has.
Result<> Snapshot::copy_chunk(std::uint32_t index, std::span<std::byte, chunk_size.value> buffer,
                              GuestMemory& memory) const {
    const FrameNumber frame = area_.frame_of_page(std::uint64_t{index} * chunk_pages);
    const auto place = memory.span(address_of(frame), chunk_size);
    if (!place)
        return fail("the memory of the snapshot {} is not laid out as that of the guest", files_.front().name);
    PageSet decided;
    for (const File& file : files_) {
        const Chunk* const chunk = find_chunk(file.manifest.chunks, index);
        if (chunk == nullptr)
            continue;
        const PageSet wanted = chunk->data.without(decided);
        decided = decided | chunk->data | chunk->zero;
        if (!wanted.any())
            continue;
        if (auto read = read_chunk(file.memory_fd(), file.memory_at, file.kind, *chunk, buffer); !read)
            return fail_because(std::move(read).error(), "cannot use the snapshot {}", file.name);
        wanted.all_runs([&](unsigned first, unsigned count) {
            const std::size_t offset = first * page_size.value;
            std::memcpy(place->data() + offset, buffer.data() + offset, count * page_size.value);
            return true;
        });
    }
    return {};
}

/// Returns how many pages of the chunk hold data, whichever file that is in.
unsigned Snapshot::data_pages(std::uint32_t index) const {
    PageSet data;
    PageSet decided;
    for (const File& file : files_) {
        if (const Chunk* const chunk = find_chunk(file.manifest.chunks, index)) {
            data = data | chunk->data.without(decided);
            decided = decided | chunk->data | chunk->zero;
        }
    }
    return data.count();
}

Result<GuestMemory> Snapshot::restore(const MemoryLayout& layout, const Progress& progress) const {
    const auto wanted = [&layout](FrameNumber frame) {
        return std::ranges::any_of(layout.regions, [frame](const MemoryRegion& region) {
            return frame >= frame_of(region.start) && frame < frames_of(region).end();
        });
    };
    if (!authenticates_memory()) {
        auto some = pieces(); // none goes on from one region into the next, with a gap between them
        std::erase_if(some, [&wanted](const FilePiece& piece) { return !wanted(piece.pages.first); });
        return GuestMemory::restore(layout, some);
    }
    auto memory = TRY(GuestMemory::create(layout));
    const PageRange all{{0}, memory.address_space()};
    memory.use_huge_pages(HugePages::refused, all); // the first page of each would take 2 MiB
    std::vector<std::byte> buffer(chunk_size.value);
    const auto indices = chunk_indices();
    for (std::size_t i = 0; i < indices.size(); ++i) {
        const std::uint32_t index = indices[i];
        if (!wanted(area_.frame_of_page(std::uint64_t{index} * chunk_pages)))
            continue;
        // Regions are of whole huge pages, so these two lie in one.
        if (index % 2 == 0 && i + 1 < indices.size() && indices[i + 1] == index + 1 &&
            data_pages(index) == chunk_pages && data_pages(index + 1) == chunk_pages)
            memory.use_huge_pages(HugePages::allowed, {area_.frame_of_page(std::uint64_t{index} * chunk_pages),
                                                       whole_pages_of(huge_page_size)});
        TRY(copy_chunk(index, std::span<std::byte, chunk_size.value>(buffer), memory));
        if (progress && !progress(ByteCount{chunk_size.value * (i + 1)}, ByteCount{chunk_size.value * indices.size()}))
            return fail("it was cancelled");
    }
    memory.use_huge_pages(HugePages::allowed, all);
    return memory;
}

} // namespace aerate::snapshot
