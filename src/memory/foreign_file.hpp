// Files of another process that are about to be mapped here.
//
// A page fault waits for as long as the filesystem takes to bring the page. Of one that is itself a process (FUSE) that
// is as long as its owner likes: it would hold up the thread that touches the page, and every thread that waits for
// that one. So such files are refused, without a system call that already asks that process.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"

namespace aerate {

struct ForeignFile {
    ByteCount size;
    ByteCount page_size; ///< what it is made of: more than page_size on hugetlbfs
};

/// Fails when the file is not a regular file, or not on a filesystem that can be trusted to bring pages: memory
/// (memfd, tmpfs, hugetlbfs), or mounted where we see it and no FUSE.
[[nodiscard]] Result<ForeignFile> examine_foreign_file(int fd);

} // namespace aerate
