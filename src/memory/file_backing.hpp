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
// A file that is cut short takes pages with it, written ones too (truncate_pagecache() in mm/truncate.c): see lost().
//
// A discard in the middle of a mapping splits it: two more of the 65530 mappings that a process may have
// (vm.max_map_count). When there are no more, the page keeps its content and counts as skipped.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "memory/file_lease.hpp"
#include "memory/file_loss.hpp"
#include "memory/file_piece.hpp"
#include "memory/guest_memory.hpp"
#include "memory/page_bitmap.hpp"

#include <atomic>
#include <utility>
#include <vector>

namespace aerate {

class FileBacking {
public:
    /// Begins with no page mapped; `none` has room for the guest's pages.
    explicit FileBacking(PageBitmap none)
        : pages_(std::move(none)) {}

    /// Maps a piece, without the advice that guest memory has. REQUIRES: the piece lies in the region.
    [[nodiscard]] Result<> map(const MappedRegion&, const FilePiece&);
    /// Returns whether any page of the range is the file's. Never wrongly says no, whoever discards meanwhile.
    [[nodiscard]] bool holds(PageRange range) const { return pages_.count(range) > PageCount{0}; }
    /// Makes all of the range, which lies in the region, fresh anonymous memory. False with errno: the pages are what
    /// they were.
    [[nodiscard]] bool replace(const MappedRegion&, PageRange);
    /// Asks the kernel to read those pages of the range that are the file's, and to map them.
    void prefetch(const MappedRegion&, PageRange) const;
    [[nodiscard]] const PageBitmap& pages() const { return pages_; }

    /// Begins to watch what was mapped: from here on a page that its file has lost reads as zero, and a process that
    /// wants to write to a file waits for give_up_files(). REQUIRES: the regions outlive this; once, after the last
    /// map().
    [[nodiscard]] Result<> watch(std::span<const MappedRegion>);
    /// Holds when a file is shorter than what was mapped of it, a page of it could not be read, or a process waits to
    /// write to it. Any thread.
    [[nodiscard]] bool lost() const;
    /// Returns an eventfd, readable when lost() may have become true; -1 when nothing is watched.
    [[nodiscard]] int loss_event() const { return loss_event_.get(); }
    /// Gives the files up, as they are of no more use: processes that wait to write to them may. lost() is true from
    /// then on.
    void give_up_files();

private:
    struct File {
        int mapped_by; ///< the descriptor that map() was given
        FileDescriptor file;
        ByteCount needed; ///< up to the end of the last piece
    };
    [[nodiscard]] Result<> remember(const FilePiece&);

    PageBitmap pages_; ///< set while restoring, afterwards only cleared
    std::vector<File> files_;
    FileDescriptor loss_event_;
    std::vector<FileLease> leases_; ///< where they can be had
    std::atomic<bool> given_up_{false};
    std::vector<FileLossWatch> watches_; ///< of regions; they go before the event
};

} // namespace aerate
