// How much of guest memory the host holds in RAM. Costs are for 1 GiB.
//
//     anonymous, hugetlb   PAGEMAP_SCAN (Linux 6.7)   present, not the shared zero page     0.05 to 5 ms
//     the same, older      /proc/self/pagemap         present, the zero page too            1.7 to 8 ms
//     memfd, all of it     st_blocks                  allocated, in RAM or swapped          below 10 us
//     memfd, within        SEEK_DATA, SEEK_HOLE       the same, whoever maps it             below 0.1 to 98 ms
//
// A memfd is asked for its holes since those may be without end: a sparse TiB of another process's costs nothing that
// way, and 10 s with mincore. What takes longest is every other page in use, which costs 0.2 ms for each MiB of them.
// Measured on a shared 2-CPU virtual machine with Linux 6.18; huge pages are fastest, 4 KiB pages and holes slowest.
// /proc/self/smaps adds text to the same walk. Part of a transparent huge page that was discarded does not count,
// though the host gets it back only when it splits the page (mm/huge_memory.c, deferred split).
//
// In memory restored from a file, the pages that were written count: they are this guest's own. Clean ones are the page
// cache's, there once for all guests from that file and reclaimed when the host wants to, so they do not. mincore would
// count them, even those that the guest never touched.
#pragma once

#include "base/fd.hpp"
#include "memory/guest_memory.hpp"

#include <cstdint>
#include <span>

namespace aerate {

class Residency {
public:
    enum class Method : std::uint8_t { pagemap_scan, pagemap, mincore };

    /// Opens what it needs now, so that a sandboxed process can ask later. `regions` must outlive this. Uses `best` or
    /// what comes after it, as the kernel has it; mincore is for a process without /proc. A memfd needs none of them.
    Residency(Backing, std::span<const MappedRegion> regions, Method best = Method::pagemap_scan);

    [[nodiscard]] ByteCount total() const;
    /// Returns what is mapped here and belongs to a file that the memory was restored from: pages that nobody has
    /// written yet, which the host keeps once for all guests of that file. A memfd is the guest's own, and has none.
    [[nodiscard]] ByteCount shared() const;
    [[nodiscard]] PageCount within(const PageBitmap&) const;
    /// Adds every page that total() counts; of these pages, unless that is null.
    void collect_resident(PageBitmap& into, const PageBitmap* of = nullptr) const;
    /// Adds those of `pages` that this process has mapped.
    void collect_touched(const PageBitmap& pages, PageBitmap& into) const;
    /// Returns whether what holds nothing is passed over at once, whatever its size.
    [[nodiscard]] bool passes_over_holes() const {
        return backing_ == Backing::memfd || method_ == Method::pagemap_scan;
    }
    /// Adds every page of the range that may hold something: in doubt, all.
    void collect_populated(PageRange in, PageBitmap& into) const;

private:
    struct Question;
    /// Visits every page of the range that the answer is yes for; with `within`, of those near one that is set there.
    template <typename Visit>
    void visit(const Question&, PageRange in, const PageBitmap* within, Visit&&) const;
    /// Visits every page of the range that a memfd's file has.
    template <typename Visit>
    void visit_data(PageRange in, Visit&&) const;

    Backing backing_;
    std::span<const MappedRegion> regions_;
    FileDescriptor pagemap_;
    Method method_ = Method::mincore;
};

} // namespace aerate
