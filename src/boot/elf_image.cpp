#include "boot/elf_image.hpp"

#include "base/endian.hpp"
#include "boot/memory_layout.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

namespace aerate {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint32_t xen_phys32_entry = 18; // XEN_ELFNOTE_PHYS32_ENTRY, xen/include/public/elfnote.h

/// Returns nullopt when the range is not all inside.
std::optional<Bytes> slice(Bytes bytes, std::uint64_t offset, std::uint64_t length) {
    if (offset > bytes.size() || length > bytes.size() - offset)
        return std::nullopt;
    return bytes.subspan(offset, length);
}

template <typename T>
std::optional<T> copy_at(Bytes bytes, std::uint64_t offset) {
    const auto part = slice(bytes, offset, sizeof(T));
    if (!part)
        return std::nullopt;
    T value;
    std::memcpy(&value, part->data(), sizeof value);
    return value;
}

constexpr std::uint64_t round_up4(std::uint64_t value) {
    return (value + 3) & ~std::uint64_t{3};
}

std::optional<std::uint32_t> find_pvh_note(Bytes notes) {
    constexpr std::string_view owner{"Xen\0", 4};
    std::uint64_t offset = 0;
    while (const auto note = copy_at<Elf64_Nhdr>(notes, offset)) {
        const std::uint64_t name_offset = offset + sizeof(Elf64_Nhdr);
        const std::uint64_t value_offset = name_offset + round_up4(note->n_namesz);
        const auto name = slice(notes, name_offset, note->n_namesz);
        const auto value = slice(notes, value_offset, note->n_descsz);
        if (!name || !value)
            return std::nullopt;
        if (note->n_type == xen_phys32_entry && std::ranges::equal(*name, std::as_bytes(std::span(owner))) &&
            value->size() >= sizeof(std::uint32_t))
            return load_little_endian<std::uint32_t>(*value);
        offset = value_offset + round_up4(note->n_descsz);
    }
    return std::nullopt;
}

bool all_zero(Bytes bytes) {
    return bytes.empty() ||
           (bytes.front() == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

/// Writes the runs of pages that are not all zero.
bool write_sparsely(GuestMemory& memory, GuestAddress address, Bytes bytes) {
    const auto chunk_at = [bytes](std::size_t offset) {
        return bytes.subspan(offset, std::min<std::size_t>(page_size.value, bytes.size() - offset));
    };
    std::size_t offset = 0;
    while (offset < bytes.size()) {
        std::size_t end = offset;
        while (end < bytes.size() && !all_zero(chunk_at(end)))
            end += chunk_at(end).size();
        if (end > offset && !memory.write({address.value + offset}, bytes.subspan(offset, end - offset)))
            return false;
        offset = end < bytes.size() ? end + chunk_at(end).size() : end;
    }
    return true;
}

Result<GuestAddress> load_segment(GuestMemory& memory, Bytes image, const Elf64_Phdr& segment) {
    const GuestAddress start{segment.p_paddr};
    const auto end = start.plus({segment.p_memsz});
    const auto contents = slice(image, segment.p_offset, segment.p_filesz);
    if (!contents || !end || segment.p_filesz > segment.p_memsz)
        return fail("it is cut off or malformed: a segment of {} bytes at offset {:#x} is not in its {} bytes",
                    segment.p_filesz, segment.p_offset, image.size());
    const GuestAddress ram_end{memory.regions().front().guest.length.value};
    if (start < layout::high_memory || *end > ram_end)
        return fail("its segment {:#x} to {:#x} does not fit into guest memory, where {:#x} to {:#x} is free: give the "
                    "guest more memory",
                    start.value, end->value, layout::high_memory.value, ram_end.value);
    if (!write_sparsely(memory, start, *contents))
        return fail("its segment at {:#x} is outside guest memory", start.value);
    return *end;
}

Result<Elf64_Ehdr> checked_header(Bytes image) {
    const auto header = copy_at<Elf64_Ehdr>(image, 0);
    if (!header)
        return fail("it is an ELF file cut off after {} bytes", image.size());
    if (!is_elf(image) || header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
        header->e_machine != EM_X86_64)
        return fail("it is not an ELF file for 64-bit x86");
    if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0)
        return fail("it is an ELF file without program headers: not a kernel");
    return *header;
}

Result<std::vector<Elf64_Phdr>> read_segments(Bytes image) {
    const auto header = TRY(checked_header(image));
    const auto table = slice(image, header.e_phoff, header.e_phnum * sizeof(Elf64_Phdr));
    if (!table)
        return fail("it is an ELF file whose program headers are not in its {} bytes", image.size());
    std::vector<Elf64_Phdr> segments(header.e_phnum);
    std::memcpy(segments.data(), table->data(), table->size());
    return segments;
}

std::optional<std::uint32_t> find_pvh_entry(Bytes image, std::span<const Elf64_Phdr> segments) {
    for (const auto& segment : segments)
        if (const auto notes = slice(image, segment.p_offset, segment.p_filesz); segment.p_type == PT_NOTE && notes)
            if (const auto entry = find_pvh_note(*notes))
                return entry;
    return std::nullopt;
}

} // namespace

bool is_elf(Bytes image) {
    return image.size() >= SELFMAG && std::memcmp(image.data(), ELFMAG, SELFMAG) == 0;
}

bool has_pvh_entry(Bytes image) {
    const auto segments = read_segments(image);
    return segments && find_pvh_entry(image, *segments).has_value();
}

Result<ElfImage> load_elf(GuestMemory& memory, Bytes image) {
    const auto segments = TRY(read_segments(image));
    const auto entry = find_pvh_entry(image, segments);
    if (!entry)
        return fail("it has no PVH entry point (ELF note XEN_ELFNOTE_PHYS32_ENTRY): build it with CONFIG_PVH=y, or use "
                    "the bzImage");
    GuestAddress end{};
    for (const auto& segment : segments)
        if (segment.p_type == PT_LOAD && segment.p_memsz > 0)
            end = std::max(end, TRY(load_segment(memory, image, segment)));
    if (GuestAddress{*entry} < layout::high_memory || GuestAddress{*entry} >= end)
        return fail("its PVH entry point {:#x} is outside what it loads", *entry);
    return ElfImage{{*entry}, end};
}

} // namespace aerate
