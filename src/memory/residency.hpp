// How much of guest memory the host holds in RAM.
//
//     backing              asked of                     what counts                              1 GiB, 4 KiB pages /
//     huge anonymous, hugetlb   PAGEMAP_SCAN (Linux 6.7)     present, without the shared zero page    2 to 5 ms / 0.05
//     ms the same, older      mincore                      present, with the shared zero page       0.5 ms / 0.1 ms
//     memfd, all           st_blocks                    allocated, in RAM or swapped             1 µs
//     memfd, within        mincore                      in the page cache, mapped by us or not   0.6 to 13 ms
//
// Measured on a 2-CPU virtual machine with Linux 6.18. Of the others: /proc/self/smaps adds text to the same walk, and
// pagemap's entries name neither the zero page (without privilege) nor what of a memfd we have not touched ourselves.
// Part of a transparent huge page that was discarded does not count, though the host gets it back only when it splits
// the page (mm/huge_memory.c, deferred split).
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
