#include "boot/memory_layout.hpp"

#include "base/check.hpp"

#include <algorithm>

namespace aerate {

using namespace layout;

VirtioMmioDevice virtio_mmio_device(unsigned index) {
    CHECK(index < max_virtio_devices);
    return {.base = {virtio_mmio.value + index * virtio_mmio_stride.value}, .gsi = first_virtio_gsi + index};
}

Result<std::vector<MemoryRegion>> ram_regions(ByteCount size) {
    if (size < min_ram || size > max_ram)
        return fail("{} MiB of memory requested: it must be between {} MiB and {} GiB", size.value >> 20,
                    min_ram.value >> 20, max_ram.value >> 30);
    if (size.value % ram_granule.value != 0)
        return fail("{} bytes of memory requested: it must be a multiple of 2 MiB", size.value);
    const ByteCount below{std::min(size.value, hole_start.value)};
    std::vector regions{MemoryRegion{GuestAddress{0}, below}};
    if (size > below)
        regions.push_back({hole_end, size - below});
    return regions;
}

std::vector<MemoryMapEntry> memory_map(std::span<const MappedRegion> regions) {
    CHECK(!regions.empty() && regions.front().guest.start == GuestAddress{0});
    const auto range = [](GuestAddress start, GuestAddress end, MemoryType type) {
        return MemoryMapEntry{start, ByteCount{end.value - start.value}, type};
    };
    std::vector map{
        range(GuestAddress{0}, low_memory_end, MemoryType::ram),
        range(acpi_tables, acpi_end, MemoryType::reserved),
        range(high_memory, GuestAddress{regions.front().guest.length.value}, MemoryType::ram),
    };
    for (const auto& region : regions.subspan(1))
        map.push_back({region.guest.start, region.guest.length, MemoryType::ram});
    return map;
}

} // namespace aerate
