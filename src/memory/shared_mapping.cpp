// The part of Mapping that maps another process's files. What it says of them is not trusted.
#include "memory/foreign_file.hpp"
#include "memory/mapping.hpp"

#include <algorithm>
#include <vector>

namespace aerate {
namespace {

constexpr ByteCount shared_address_space_max{1ULL << 44};

bool whole_pages(std::uint64_t value) {
    return value % page_size.value == 0;
}

Result<> check_extent(const SharedRegion& region) {
    const auto& [start, length] = region.guest;
    const auto end = start.plus(length);
    if (length.value == 0)
        return fail("the shared memory region at {:#x} is empty", start.value);
    if (!whole_pages(start.value) || !whole_pages(length.value) || !whole_pages(region.offset.value))
        return fail(
            "the shared memory region at {:#x} of {:#x} bytes, {:#x} bytes into its file, is not of whole pages",
            start.value, length.value, region.offset.value);
    if (!end || end->value > shared_address_space_max.value)
        return fail("the shared memory region at {:#x} of {:#x} bytes ends above 16 TiB", start.value, length.value);
    return {};
}

/// Returns the size of the pages that the region's file is made of.
Result<ByteCount> check_file(const SharedRegion& region) {
    const std::uint64_t start = region.guest.start.value;
    const auto file = examine_foreign_file(region.fd);
    if (!file)
        return fail("the shared memory region at {:#x}: {}", start, file.error().message);
    const std::uint64_t size = file->size.value;
    if (region.offset.value > size || region.guest.length.value > size - region.offset.value)
        return fail("the file of the shared memory region at {:#x} has {:#x} bytes, {:#x} and {:#x} are needed", start,
                    size, region.offset.value, region.guest.length.value);
    const ByteCount huge = file->page_size;
    if (huge == page_size)
        return page_size;
    if (huge != huge_page_size)
        return fail("the shared memory region at {:#x} is of {} byte pages; use 2 MiB or normal ones", start,
                    huge.value);
    for (const std::uint64_t value : {start, region.guest.length.value, region.offset.value})
        if (value % huge.value != 0)
            return fail("the shared memory region at {:#x} is of 2 MiB pages and does not start and end at one", start);
    return huge;
}

} // namespace

Result<Mapping> Mapping::share(std::span<const SharedRegion> given) {
    if (given.empty())
        return fail("the guest has no memory");
    std::vector<SharedRegion> regions(given.begin(), given.end());
    for (const SharedRegion& region : regions)
        TRY(check_extent(region));
    std::ranges::sort(regions, {}, [](const SharedRegion& region) { return region.guest.start; });
    for (std::size_t i = 1; i < regions.size(); ++i)
        if (*regions[i - 1].guest.start.plus(regions[i - 1].guest.length) > regions[i].guest.start)
            return fail("the shared memory regions at {:#x} and {:#x} overlap", regions[i - 1].guest.start.value,
                        regions[i].guest.start.value);

    Mapping mapping(Backing::memfd);
    mapping.reservations_.reserve(regions.size());
    mapping.regions_.reserve(regions.size());
    mapping.watches_.reserve(regions.size());
    for (const SharedRegion& region : regions) {
        mapping.host_page_size_ = std::max(mapping.host_page_size_, TRY(check_file(region)));
        TRY(mapping.map(region.guest, region.fd, region.offset));
        mapping.watches_.push_back(
            TRY(FileLossWatch::start(host_bytes(mapping.regions_.back(), frames_of(region.guest)))));
    }
    return mapping;
}

bool Mapping::lost() const {
    return std::ranges::any_of(watches_, &FileLossWatch::lost);
}

} // namespace aerate
