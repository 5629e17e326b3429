// The initial RAM disk.
#pragma once

#include "base/error.hpp"
#include "boot/file.hpp"
#include "memory/guest_memory.hpp"

namespace aerate {

struct LoadedInitrd {
    GuestAddress start;
    ByteCount size;
};

/// Reads the file into the highest pages that end at or below `limit` and in the low region of RAM. An error when that
/// would reach below `kernel_end`.
[[nodiscard]] Result<LoadedInitrd> load_initrd(GuestMemory&, const BootFile&, GuestAddress kernel_end,
                                               GuestAddress limit);

} // namespace aerate
