// Loads a Linux kernel into guest memory, with its command line, its initrd and the boot data of its entry protocol.
//
//     const auto kernel = TRY(load_kernel(memory, {.kernel = &file, .command_line = "console=ttyS0"}));
//     switch (kernel.protocol) ...   // where vCPU 0 starts
//
// Image files belong to the VM's owner, yet they come from anywhere: every length and offset in them is checked.
#pragma once

#include "base/error.hpp"
#include "boot/file.hpp"
#include "memory/guest_address.hpp"
#include "memory/guest_memory.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace aerate {

enum class KernelEntry : std::uint8_t {
    /// An ELF file by PVH; a bzImage by PVH when its payload can be unpacked here and has a PVH entry, else as a
    /// bzImage.
    automatic,
    /// The guest unpacks the kernel by itself, and may choose where it runs (KASLR).
    bzimage,
    /// The monitor unpacks the kernel, which saves the guest that work. It runs where it was linked: the randomisation
    /// of its physical and virtual base (KASLR) is part of the unpacker that is skipped. Memory and stack randomisation
    /// stay.
    pvh,
};

/// The longest command line that x86 kernels take: COMMAND_LINE_SIZE of arch/x86/include/asm/setup.h without its zero.
inline constexpr std::size_t command_line_max = 2047;

struct KernelConfig {
    const BootFile* kernel = nullptr; ///< a bzImage or a PVH ELF file (vmlinux)
    const BootFile* initrd = nullptr; ///< null: none
    std::string command_line;
    KernelEntry entry = KernelEntry::automatic;
};

/// How vCPU 0 starts.
struct LoadedKernel {
    enum class Protocol : std::uint8_t {
        linux64, ///< long mode; boot_data is boot_params, for RSI; paging by layout::page_tables and layout::gdt
        pvh,     ///< 32-bit protected mode; boot_data is start_info, for EBX
    };
    Protocol protocol;
    GuestAddress instruction;
    GuestAddress boot_data;
};

/// REQUIRES: the memory has the regions of ram_regions() and reads as zero (fresh, or all discarded): what is zero in
/// an image is not written, so that it costs the host nothing. There is a kernel in the configuration.
[[nodiscard]] Result<LoadedKernel> load_kernel(GuestMemory&, const KernelConfig&);

/// Does the same for an image in memory; `name` is for messages. config.kernel is not read.
[[nodiscard]] Result<LoadedKernel> load_kernel_image(GuestMemory&, std::span<const std::byte> image,
                                                     std::string_view name, const KernelConfig&);

} // namespace aerate
