#include "boot/memory_layout.hpp"

#include <gmock/gmock.h>

#include <array>
#include <random>

namespace aerate {
namespace {

using namespace literals;
using ::testing::HasSubstr;

/// Regions as GuestMemory maps them, without mapping 512 GiB.
std::vector<MappedRegion> mapped(const std::vector<MemoryRegion>& regions) {
    std::vector<MappedRegion> all;
    for (const auto& region : regions)
        all.push_back({.guest = region, .host = nullptr, .fd = -1, .fd_offset = {}});
    return all;
}

std::uint64_t end_of(GuestAddress start, ByteCount length) {
    return start.value + length.value;
}

void check_size(ByteCount size) {
    SCOPED_TRACE(size.value >> 20);
    const auto regions = ram_regions(size);
    ASSERT_TRUE(regions) << regions.error().message;
    ByteCount total{};
    std::uint64_t previous_end = 0;
    for (const auto& region : *regions) {
        EXPECT_GE(region.start.value, previous_end);
        EXPECT_EQ(region.start.value % ram_granule.value, 0U);
        EXPECT_EQ(region.length.value % ram_granule.value, 0U);
        EXPECT_GT(region.length, ByteCount{0});
        previous_end = end_of(region.start, region.length);
        EXPECT_TRUE(previous_end <= layout::hole_start.value || region.start >= layout::hole_end);
        total += region.length;
    }
    EXPECT_EQ(total, size);

    std::uint64_t map_end = 0;
    for (const auto& entry : memory_map(mapped(*regions))) {
        EXPECT_GE(entry.start.value, map_end);
        EXPECT_GT(entry.length, ByteCount{0});
        map_end = end_of(entry.start, entry.length);
        const bool inside = std::ranges::any_of(*regions, [&](const MemoryRegion& region) {
            return entry.start >= region.start && map_end <= end_of(region.start, region.length);
        });
        EXPECT_TRUE(inside) << "the kernel is told of memory that is not there, at " << entry.start.value;
    }
    EXPECT_EQ(map_end, previous_end) << "the kernel is told of all memory";
}

TEST(MemoryLayout, AllSizesAreCoveredWithoutOverlap) {
    for (const auto size : {16_MiB, 18_MiB, 512_MiB, 3070_MiB, 3_GiB, 3074_MiB, 4_GiB, 64_GiB, 512_GiB, 4096_GiB})
        check_size(size);
    std::mt19937_64 random(1);
    for (int i = 0; i < 1000; ++i)
        check_size(ByteCount{(8 + random() % (256 * 1024 - 8)) << 21});
}

TEST(MemoryLayout, OddSizesAreRefusedWithAReason) {
    for (const auto size : {ByteCount{0}, 14_MiB, 4098_GiB})
        EXPECT_THAT(ram_regions(size).error().message, HasSubstr("must be between 16 MiB and 4096 GiB"));
    EXPECT_THAT(ram_regions(17_MiB).error().message, HasSubstr("multiple of 2 MiB"));
}

TEST(MemoryLayout, BootDataDoesNotOverlap) {
    struct Area {
        GuestAddress start;
        ByteCount length;
    };
    constexpr std::array areas{
        Area{layout::gdt, 4_KiB},
        Area{layout::boot_params, 4_KiB},
        Area{layout::start_info, 4_KiB},
        Area{layout::page_tables, 24_KiB},
        Area{layout::command_line, layout::command_line_limit},
        Area{layout::low_memory_end, 1_KiB},
        Area{layout::acpi_tables, 128_KiB},
        Area{layout::high_memory, 1_MiB},
    };
    for (std::size_t i = 1; i < areas.size(); ++i)
        EXPECT_LE(end_of(areas[i - 1].start, areas[i - 1].length), areas[i].start.value) << i;
    EXPECT_EQ(end_of(layout::acpi_tables, 128_KiB), layout::acpi_end.value);
}

TEST(MemoryLayout, DevicesLieInTheHoleApartFromEachOther) {
    std::uint64_t previous_end = layout::hole_start.value;
    std::uint32_t previous_gsi = layout::power_button_gsi;
    for (unsigned index = 0; index < layout::max_virtio_devices; ++index) {
        const auto device = virtio_mmio_device(index);
        EXPECT_GE(device.base.value, previous_end);
        EXPECT_GT(device.gsi, previous_gsi);
        EXPECT_LT(device.gsi, layout::gsi_count);
        previous_end = end_of(device.base, layout::virtio_mmio_stride);
        previous_gsi = device.gsi;
    }
    EXPECT_LE(previous_end, layout::io_apic.value);
}

} // namespace
} // namespace aerate
