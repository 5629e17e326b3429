// One number for the content of all of RAM, computed on both sides when a migration is to be verified.
#pragma once

#include "memory/guest_memory.hpp"
#include "memory/page_bitmap.hpp"

#include <cstdint>
#include <functional>
#include <optional>

namespace aerate::migration {

/// Computes the root of a hash tree: over all blocks of 16 MiB, over the pages of a block, over (frame number, content)
/// of each page of RAM that holds anything but zeroes and is not in `unneeded`. So pages that were never touched are
/// not read: that would make the host map each of them. Nothing when go_on(), which is asked for each block, says no.
/// Fails when the host refuses the memory to do it. REQUIRES: nobody writes.
[[nodiscard]] Result<std::optional<std::uint64_t>> memory_root(GuestMemory&, const PageBitmap& unneeded,
                                                               const std::function<bool()>& go_on);

} // namespace aerate::migration
