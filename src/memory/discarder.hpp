// Hands whole host pages back to the host: many ranges a system call where the kernel allows.
//
//     backing     advice                          batch of ranges
//     anonymous   MADV_DONTNEED_LOCKED            process_madvise on ourselves (Linux 6.13); else one madvise a range
//     memfd       MADV_REMOVE                     the same
//     hugetlb     MADV_DONTNEED_LOCKED            the same
//     a file's    anonymous memory mapped over    one mmap a range: see FileBacking
//
// MADV_DONTNEED_LOCKED (Linux 5.18) is MADV_DONTNEED that also works on mlocked memory. MADV_REMOVE punches the hole
// that fallocate would, and tells a userfaultfd of it: without that event a lazy restore would fill the page again with
// what the snapshot held. It refuses mlocked memory, so there fallocate it is.
#pragma once

#include "base/fd.hpp"
#include "memory/file_backing.hpp"
#include "memory/guest_memory.hpp"

#include <cstddef>
#include <span>

namespace aerate {

/// Whole host pages inside one region.
struct DiscardPiece {
    const MappedRegion* region = nullptr;
    PageRange range;
};

class Discarder {
public:
    static constexpr std::size_t batch_size = 256;

    /// Asks the kernel what it can do, with advice on no bytes at the start of `region`, so that nothing is discarded.
    /// `files` must outlive this.
    Discarder(Backing, const MappedRegion& region, FileBacking& files);

    /// Adds to discarded, system_calls and system_error. REQUIRES: at most batch_size pieces.
    void discard(std::span<const DiscardPiece>, DiscardResult&) const;
    [[nodiscard]] bool batches() const { return self_.valid(); }

private:
    [[nodiscard]] bool is_a_files(const DiscardPiece& piece) const { return files_->holds(piece.range); }
    void replace(const DiscardPiece&, DiscardResult&) const;
    [[nodiscard]] std::size_t discard_together(std::span<const DiscardPiece>, DiscardResult&) const;
    void discard_alone(const DiscardPiece&, DiscardResult&) const;

    FileBacking* files_;
    int advice_ = 0;
    FileDescriptor self_; ///< our own pidfd, where process_madvise takes the advice
};

} // namespace aerate
