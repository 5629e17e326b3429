// A picture of guest memory: a row of cells, each with the letter of what most of it is. For people, and for pages that
// show it. One walk through the page tables, so for those who look, not for policy.
#pragma once

#include "balloon/page_states.hpp"
#include "base/error.hpp"
#include "memory/guest_memory.hpp"

#include <cstddef>
#include <string>

namespace aerate {

/// Where the letters come from. The first of them that a page is counts.
struct MemoryMapSources {
    const balloon::PageStates* states = nullptr; ///< nothing: there is no balloon
    const PageBitmap* hinted = nullptr;
};

struct MemoryPicture {
    ByteCount cell{}; ///< of RAM; the last one may be less
    /// 'b' ballooned, 'h' hinted and resident, 'r' resident, 's' a snapshot's page, shared with its other guests,
    /// 'p' reported free and absent, '.' absent: never touched, or swapped out.
    std::string cells;
};
inline constexpr std::size_t map_cells_max = 1024;

/// Returns the picture of all RAM, in at most map_cells_max cells of a power of two. Fails when the host refuses the
/// memory for it. Balloon loop.
[[nodiscard]] Result<MemoryPicture> memory_map_of(const GuestMemory&, const MemoryMapSources&);

} // namespace aerate
