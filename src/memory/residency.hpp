// How much of guest memory the host holds in RAM. Costs are for 1 GiB.
//
//     anonymous, hugetlb   PAGEMAP_SCAN (Linux 6.7)   present, not the shared zero page     0.05 to 5 ms
//     the same, older      mincore                    present, the zero page too            0.1 to 1.4 ms
//     memfd, all of it     st_blocks                  allocated, in RAM or swapped          below 10 us
//     memfd, within        mincore                    in the page cache, whoever maps it    0.6 to 13 ms
//
// Measured on a shared 2-CPU virtual machine with Linux 6.18; huge pages are fastest, 4 KiB pages and holes slowest.
// Of the other ways, /proc/self/smaps adds text to the same walk, and the entries of /proc/self/pagemap name neither
// the zero page (without privilege) nor what of a memfd only others have touched. Part of a transparent huge page that
// was discarded does not count, though the host gets it back only when it splits the page (mm/huge_memory.c, deferred
// split).
#pragma once

#include "base/fd.hpp"
#include "memory/guest_memory.hpp"

#include <span>

namespace aerate {

class Residency {
public:
    /// Opens what it needs now, so that a sandboxed process can ask later. `regions` must outlive this.
    Residency(Backing, std::span<const MappedRegion> regions);

    [[nodiscard]] ByteCount total() const;
    [[nodiscard]] PageCount within(const PageBitmap&) const;

private:
    [[nodiscard]] PageCount count(const PageBitmap* within) const;
    [[nodiscard]] bool can_scan() const { return pagemap_.valid(); }

    Backing backing_;
    std::span<const MappedRegion> regions_;
    FileDescriptor pagemap_; ///< where PAGEMAP_SCAN works and helps
};

} // namespace aerate
