#include "boot/pvh.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace aerate {
namespace {

struct StartInfo {
    std::uint32_t magic = 0x336ec578;
    std::uint32_t version = 1; // the first with a memory map
    std::uint32_t flags = 0;
    std::uint32_t module_count = 0;
    std::uint64_t modules = 0;
    std::uint64_t command_line = 0;
    std::uint64_t rsdp = 0;
    std::uint64_t memory_map = 0;
    std::uint32_t memory_map_entries = 0;
    std::uint32_t reserved = 0;
};
static_assert(sizeof(StartInfo) == 56);

struct Module {
    std::uint64_t address = 0;
    std::uint64_t size = 0;
    std::uint64_t command_line = 0;
    std::uint64_t reserved = 0;
};
static_assert(sizeof(Module) == 32);

struct MapEntry {
    std::uint64_t address = 0;
    std::uint64_t size = 0;
    std::uint32_t type = 0;
    std::uint32_t reserved = 0;
};
static_assert(sizeof(MapEntry) == 24);

/// One page: the start info, at most one module, then the memory map.
struct BootPage {
    StartInfo info;
    Module initrd;
    std::array<MapEntry, 16> map;
};
static_assert(sizeof(BootPage) <= page_size.value);

} // namespace

Result<void> write_start_info(GuestMemory& memory, std::optional<LoadedInitrd> initrd) {
    constexpr std::uint64_t base = layout::start_info.value;
    BootPage page{};
    const auto map = memory_map(memory.regions());
    if (map.size() > page.map.size())
        return fail("the memory map has {} entries, more than PVH's boot data has room for", map.size());
    for (std::size_t i = 0; i < map.size(); ++i)
        page.map[i] = {map[i].start.value, map[i].length.value, static_cast<std::uint32_t>(map[i].type), 0};
    page.info.command_line = layout::command_line.value;
    page.info.rsdp = layout::acpi_tables.value;
    page.info.memory_map = base + offsetof(BootPage, map);
    page.info.memory_map_entries = static_cast<std::uint32_t>(map.size());
    if (initrd) {
        page.initrd.address = initrd->start.value;
        page.initrd.size = initrd->size.value;
        page.info.modules = base + offsetof(BootPage, initrd);
        page.info.module_count = 1;
    }
    if (!memory.write(layout::start_info, std::as_bytes(std::span(&page, 1))))
        return fail("there is no guest memory for PVH's boot data at {:#x}", base);
    return {};
}

} // namespace aerate
