// What this process has in RAM, by /proc/self/smaps: exact, and of one moment. statm is neither: before Linux 6.2 its
// counters lag behind by up to 64 pages for each thread and kind.
#pragma once

#include "memory/guest_memory.hpp"

#include <optional>
#include <span>

namespace aerate {

/// Returns the resident size of everything that is mapped here but these regions: the monitor's own memory, program
/// code included. Huge pages of the host's pool count nowhere in it. Nothing if it cannot be read.
[[nodiscard]] std::optional<ByteCount> resident_outside(std::span<const MappedRegion>);

/// Returns what of this process is anonymous memory in RAM, at the cost of a short read, whatever its size. It lags
/// behind where statm does. Nothing if it cannot be read.
[[nodiscard]] std::optional<ByteCount> resident_anonymous();

} // namespace aerate
