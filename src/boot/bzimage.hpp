// bzImage, by the 64-bit Linux boot protocol (Documentation/arch/x86/boot.rst).
#pragma once

#include "base/error.hpp"
#include "boot/initrd.hpp"
#include "memory/guest_memory.hpp"

#include <asm/bootparam.h>

#include <cstddef>
#include <optional>
#include <span>

namespace aerate {

/// What parse_bzimage() found, as spans of the image: checked, nothing copied.
struct BzImage {
    setup_header header;                ///< as in the image; bytes that an older protocol lacks are zero
    std::span<const std::byte> kernel;  ///< the protected-mode part
    std::span<const std::byte> payload; ///< the packed kernel inside it; empty when the header names none
};

/// Returns whether it is a Linux boot image of any age.
[[nodiscard]] bool is_bzimage(std::span<const std::byte> image);
/// Fails unless it is one with a 64-bit entry point.
[[nodiscard]] Result<BzImage> parse_bzimage(std::span<const std::byte> image);

struct PlacedBzImage {
    GuestAddress entry;
    GuestAddress end; ///< of the memory that it needs until it has read the memory map
};
[[nodiscard]] Result<PlacedBzImage> place_bzimage(GuestMemory&, const BzImage&);

/// Returns where an initrd may end.
[[nodiscard]] GuestAddress initrd_limit(const BzImage&);

/// Writes boot_params, the GDT and identity page tables for the first 4 GiB, at their places in layout::.
[[nodiscard]] Result<void> write_linux_boot_data(GuestMemory&, const BzImage&, std::optional<LoadedInitrd>);

} // namespace aerate
