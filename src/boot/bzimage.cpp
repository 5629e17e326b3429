#include "boot/bzimage.hpp"

#include "base/endian.hpp"
#include "boot/memory_layout.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

namespace aerate {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::size_t header_offset = 0x1f1;
constexpr std::size_t jump_operand_offset = 0x201; ///< the header ends 0x202 bytes in, plus the value here
constexpr std::size_t sector = 512;
constexpr std::uint16_t boot_signature = 0xaa55;
constexpr std::uint32_t header_magic = 0x53726448; // "HdrS"
constexpr std::uint16_t oldest_version = 0x20c;    // 2.12, Linux 3.8: xloadflags
constexpr std::uint64_t entry_64 = 0x200;          // from the load address

std::optional<setup_header> read_header(Bytes image) {
    if (image.size() < jump_operand_offset + 1)
        return std::nullopt;
    const std::size_t end = jump_operand_offset + 1 + std::to_integer<std::size_t>(image[jump_operand_offset]);
    const Bytes stored = image.subspan(header_offset, std::min(end, image.size()) - header_offset);
    setup_header header{};
    std::memcpy(&header, stored.data(), std::min(stored.size(), sizeof header));
    return header;
}

} // namespace

bool is_bzimage(Bytes image) {
    const auto header = read_header(image);
    return header && header->boot_flag == boot_signature && header->header == header_magic;
}

Result<BzImage> parse_bzimage(Bytes image) {
    const auto header = read_header(image);
    if (!header || !is_bzimage(image))
        return fail("it is not a bzImage");
    const auto version = header->version;
    if (version < oldest_version)
        return fail("it speaks version {}.{} of the boot protocol, this monitor needs 2.12: use Linux 3.8 or newer",
                    version >> 8, version & 0xff);
    if ((header->xloadflags & XLF_KERNEL_64) == 0)
        return fail("it has no 64-bit entry point: use a 64-bit kernel");
    if ((header->loadflags & LOADED_HIGH) == 0)
        return fail("it is a zImage, made to be loaded below 1 MiB: use a bzImage");
    // "For backwards compatibility, if the setup_sects field contains 0, the real value is 4."
    const std::size_t setup_size = (std::size_t{header->setup_sects == 0 ? 4U : header->setup_sects} + 1) * sector;
    const std::size_t kernel_size = std::size_t{header->syssize} * 16;
    // The last paragraph may be short of its 16 bytes.
    if (setup_size >= image.size() || kernel_size > image.size() - setup_size + 15)
        return fail("it is cut off: it has {} bytes where its header says {}: fetch it again", image.size(),
                    setup_size + kernel_size);
    BzImage bzimage{.header = *header, .kernel = image.subspan(setup_size), .payload = {}};
    if (entry_64 >= bzimage.kernel.size())
        return fail("it is cut off before its entry point: fetch it again");
    const std::size_t offset = header->payload_offset;
    const std::size_t length = header->payload_length;
    if (offset > bzimage.kernel.size() || length > bzimage.kernel.size() - offset)
        return fail("it is cut off or malformed: its payload of {} bytes at {:#x} is not in its {} bytes", length,
                    offset, bzimage.kernel.size());
    bzimage.payload = bzimage.kernel.subspan(offset, length);
    return bzimage;
}

Result<PlacedBzImage> place_bzimage(GuestMemory& memory, const BzImage& image) {
    const bool relocatable = image.header.relocatable_kernel != 0;
    const GuestAddress load = relocatable ? GuestAddress{image.header.pref_address} : layout::high_memory;
    const GuestAddress ram_end{memory.regions().front().guest.length.value};
    const ByteCount needed{std::max<std::uint64_t>(image.header.init_size, image.kernel.size())};
    const auto end = std::max(load, GuestAddress{image.header.pref_address}).plus(needed);
    if (load < layout::high_memory || !end || *end > ram_end)
        return fail("it needs {} MiB of memory from {:#x} on, and RAM ends at {:#x}: give the guest more memory",
                    (needed.value >> 20) + 1, load.value, ram_end.value);
    if (!memory.write(load, image.kernel))
        return fail("there is no guest memory for it at {:#x}", load.value);
    return PlacedBzImage{.entry = {load.value + entry_64}, .end = *end};
}

GuestAddress initrd_limit(const BzImage& image) {
    // The field names the last byte that may be used.
    return {std::uint64_t{image.header.initrd_addr_max} + 1};
}

namespace {

/// Writes the zero page: boot_params at offset 0, with the image's own header inside it.
Result<void> write_boot_params(GuestMemory& memory, const BzImage& image, std::optional<LoadedInitrd> initrd) {
    constexpr std::uint8_t undefined_loader = 0xff;
    boot_params params{};
    params.hdr = image.header;
    params.hdr.type_of_loader = undefined_loader;
    params.hdr.cmd_line_ptr = static_cast<std::uint32_t>(layout::command_line.value);
    params.acpi_rsdp_addr = layout::acpi_tables.value;
    if (initrd) {
        // Below 4 GiB: load_initrd() stays in the low region.
        params.hdr.ramdisk_image = static_cast<std::uint32_t>(initrd->start.value);
        params.hdr.ramdisk_size = static_cast<std::uint32_t>(initrd->size.value);
    }
    const auto map = memory_map(memory.regions());
    if (map.size() > E820_MAX_ENTRIES_ZEROPAGE)
        return fail("the memory map has {} entries, more than boot_params has room for", map.size());
    params.e820_entries = static_cast<std::uint8_t>(map.size());
    for (std::size_t i = 0; i < map.size(); ++i)
        params.e820_table[i] = {map[i].start.value, map[i].length.value, static_cast<std::uint32_t>(map[i].type)};
    if (!memory.write(layout::boot_params, std::as_bytes(std::span(&params, 1))))
        return fail("there is no guest memory for boot_params at {:#x}", layout::boot_params.value);
    return {};
}

/// "__BOOT_CS must have execute/read permission; __BOOT_DS must have read/write permission": selectors 0x10 and 0x18.
Result<void> write_gdt(GuestMemory& memory) {
    constexpr std::array<std::uint64_t, 4> descriptors{0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    if (!memory.write(layout::gdt, std::as_bytes(std::span(descriptors))))
        return fail("there is no guest memory for the GDT at {:#x}", layout::gdt.value);
    return {};
}

/// Maps the first 4 GiB in pages of 2 MiB: the kernel, boot_params and the command line must be mapped at their
/// addresses.
Result<void> write_page_tables(GuestMemory& memory) {
    constexpr std::uint64_t present_writable = 3;
    constexpr std::uint64_t large = 1U << 7;
    constexpr std::uint64_t table = 0x1000;
    constexpr std::uint64_t root = layout::page_tables.value;
    constexpr std::size_t entries = 512;
    constexpr std::size_t gibibytes = 4;
    std::vector<std::uint64_t> tables((2 + gibibytes) * entries);
    tables[0] = (root + table) | present_writable;
    for (std::size_t i = 0; i < gibibytes; ++i)
        tables[entries + i] = (root + (2 + i) * table) | present_writable;
    for (std::size_t i = 0; i < gibibytes * entries; ++i)
        tables[2 * entries + i] = i << 21 | large | present_writable;
    if (!memory.write(layout::page_tables, std::as_bytes(std::span(tables))))
        return fail("there is no guest memory for page tables at {:#x}", root);
    return {};
}

} // namespace

Result<void> write_linux_boot_data(GuestMemory& memory, const BzImage& image, std::optional<LoadedInitrd> initrd) {
    TRY(write_boot_params(memory, image, initrd));
    TRY(write_gdt(memory));
    return write_page_tables(memory);
}

} // namespace aerate
