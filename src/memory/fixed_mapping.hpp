// mmap(MAP_FIXED), which does not promise that a failure changes nothing: before Linux 6.9 the kernel unmaps what is
// there first, and asks whether it can map the new thing afterwards (mm/mmap.c, mmap_region and
// do_vmi_align_munmap). What is then left is a hole, in which a guest's or our own access ends the process, and which
// the next mapping of any thread may fill.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace aerate {

enum class FixedMapping : std::uint8_t {
    made,
    refused, ///< what was there is still there; errno says why
    lost,    ///< what was there is gone, and nothing can be accessed there; the place is still ours; errno says why
};

/// Maps over `place`, which is all mapped, and looks what is there after a failure: a hole is asked for once more,
/// since it has made room, and then reserved. Ends the process when the host refuses even that.
[[nodiscard]] FixedMapping map_over(std::span<std::byte> place, int protection, int flags, int fd, off_t offset);

} // namespace aerate
