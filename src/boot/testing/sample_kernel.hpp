// Kernel images made to order, valid unless a test spoils them.
#pragma once

#include <elf.h>

#include <asm/bootparam.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace aerate::testing {

using Bytes = std::vector<std::byte>;

inline constexpr std::uint64_t sample_segment = 0x200000;
inline constexpr std::uint32_t sample_entry = 0x200040;

inline void put(Bytes& image, std::size_t offset, const auto& value) {
    if (image.size() < offset + sizeof value)
        image.resize(offset + sizeof value);
    std::memcpy(image.data() + offset, &value, sizeof value);
}

inline void put_text(Bytes& image, std::size_t offset, std::string_view text) {
    if (image.size() < offset + text.size())
        image.resize(offset + text.size());
    std::memcpy(image.data() + offset, text.data(), text.size());
}

/// One segment of 12 KiB at 2 MiB, whose middle page is zero, 16 KiB with its BSS; one PVH note.
inline Bytes sample_elf() {
    Bytes image;
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_machine = EM_X86_64;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 2;
    put(image, 0, header);
    const Elf64_Phdr load{.p_type = PT_LOAD,
                          .p_flags = PF_R,
                          .p_offset = 0x1000,
                          .p_vaddr = 0,
                          .p_paddr = sample_segment,
                          .p_filesz = 0x3000,
                          .p_memsz = 0x4000,
                          .p_align = 0x1000};
    const Elf64_Phdr note{.p_type = PT_NOTE,
                          .p_flags = PF_R,
                          .p_offset = 0x200,
                          .p_vaddr = 0,
                          .p_paddr = 0,
                          .p_filesz = 40,
                          .p_memsz = 40,
                          .p_align = 4};
    put(image, sizeof header, load);
    put(image, sizeof header + sizeof load, note);
    // Another note first, whose name and value need padding.
    put(image, 0x200, Elf64_Nhdr{.n_namesz = 3, .n_descsz = 1, .n_type = 18});
    put_text(image, 0x20c, "Go");
    put(image, 0x214, Elf64_Nhdr{.n_namesz = 4, .n_descsz = 4, .n_type = 18});
    put_text(image, 0x220, "Xen");
    put(image, 0x224, sample_entry);
    put_text(image, 0x1000, "first page");
    put_text(image, 0x3000, "last page");
    image.resize(0x4000);
    return image;
}

inline constexpr std::size_t sample_payload_offset = 0x240; // in the protected-mode part

/// A relocatable 64-bit bzImage of protocol 2.15 around `payload`.
inline Bytes sample_bzimage(const Bytes& payload) {
    constexpr std::size_t payload_start = 5 * 512 + sample_payload_offset;
    Bytes image(payload_start + (payload.size() + 15) / 16 * 16);
    std::ranges::copy(payload, image.begin() + payload_start);
    setup_header header{};
    header.setup_sects = 4;
    header.syssize = static_cast<std::uint32_t>((image.size() - 5 * 512) / 16);
    header.boot_flag = 0xaa55;
    header.jump = 0x66eb;
    header.header = 0x53726448;
    header.version = 0x20f;
    header.loadflags = LOADED_HIGH;
    header.initrd_addr_max = 0x7fffffff;
    header.kernel_alignment = 0x200000;
    header.relocatable_kernel = 1;
    header.xloadflags = XLF_KERNEL_64;
    header.cmdline_size = 2047;
    header.pref_address = 0x400000;
    header.init_size = 0x100000;
    header.payload_offset = sample_payload_offset;
    header.payload_length = static_cast<std::uint32_t>(payload.size());
    put(image, 0x1f1, header);
    return image;
}

} // namespace aerate::testing
