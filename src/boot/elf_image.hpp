// ELF kernels that have a PVH entry point (Xen's docs/misc/pvh.pandoc): Linux's vmlinux since 4.21, most unikernels.
#pragma once

#include "base/error.hpp"
#include "memory/guest_memory.hpp"

#include <cstddef>
#include <span>

namespace aerate {

struct ElfImage {
    GuestAddress entry; ///< 32-bit, from the note XEN_ELFNOTE_PHYS32_ENTRY
    GuestAddress end;   ///< one past the highest byte that the kernel occupies
};

[[nodiscard]] bool is_elf(std::span<const std::byte> image);
/// Returns false also when it is malformed. Reads headers and notes only.
[[nodiscard]] bool has_pvh_entry(std::span<const std::byte> image);
/// Copies the loadable segments to their physical addresses. Pages of zeros are skipped: see load_kernel().
[[nodiscard]] Result<ElfImage> load_elf(GuestMemory&, std::span<const std::byte> image);

} // namespace aerate
