// The part of guest memory that is still a file's: what was restored and not discarded since.
//
// A private mapping of the file costs no reading before it is touched; clean pages are the page cache's, shared by all
// guests from one file, and a write makes a private copy. MADV_DONTNEED would drop that copy and bring the file's page
// back, so pages are discarded by mapping anonymous memory over them, after which they are as any other.
//
// Why not userfaultfd: it makes every guest its own copy of what it only reads. Ten guests that read 64 MiB and wrote
// an eighth of it held 705 MiB together, and 137 MiB this way. A first write took 8 us a page either way when the other
// thread answered with 64 KiB, and 40 us when it answered with 4 KiB; a first read 6 or 35 us, here less than 1.
//
// A discard in the middle of a mapping splits it: two more of the 65530 mappings that a process may have
// (vm.max_map_count). When there are no more, the page keeps its content and counts as skipped.
#pragma once

#include "base/error.hpp"
#include "memory/file_piece.hpp"
#include "memory/guest_memory.hpp"
#include "memory/page_bitmap.hpp"

namespace aerate {

class FileBacking {
public:
    explicit FileBacking(PageCount address_space)
        : pages_(address_space) {}

    /// Without the advice that guest memory has. REQUIRES: the piece lies in the region.
    [[nodiscard]] Result<> map(const MappedRegion&, const FilePiece&);
    /// Whether any page of the range is the file's. Never falsely no, whoever discards meanwhile.
    [[nodiscard]] bool holds(PageRange range) const { return pages_.count(range) > PageCount{0}; }
    /// Makes all of the range, which lies in the region, fresh anonymous memory. False with errno: nothing has changed.
    [[nodiscard]] bool replace(const MappedRegion&, PageRange);
    /// Asks the kernel to read those pages of the range that are the file's, and to map them.
    void prefetch(const MappedRegion&, PageRange) const;
    [[nodiscard]] const PageBitmap& pages() const { return pages_; }

private:
    PageBitmap pages_; ///< set while restoring, afterwards only cleared
};

} // namespace aerate
