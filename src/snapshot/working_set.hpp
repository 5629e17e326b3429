// Which pages a guest touches first after it was restored, in a file beside its snapshot, so that the next guest does
// not wait for each of them.
//
//     vm.snap.working-set: magic 8 | version 4 | kind of digest 4 | identity of the snapshot 32 |
//                          (index of chunk 4, 0 4, pages 32)... | seal 32            little-endian; chunks ascend
//
// The file may be as hostile as a snapshot. All that it can do is to make the host read pages of the snapshot.
#pragma once

#include "base/error.hpp"
#include "memory/guest_memory.hpp"
#include "memory/page_bitmap.hpp"
#include "snapshot/digest.hpp"
#include "snapshot/file_operations.hpp"

#include <optional>
#include <string>
#include <vector>

namespace aerate::snapshot {

/// The snapshot that a working set is of, and where that is.
struct WorkingSetPlace {
    std::string snapshot_path;
    Digest identity{};
    std::vector<MemoryRegion> regions;
    std::optional<Key> key;

    [[nodiscard]] std::string path() const { return snapshot_path + ".working-set"; }
};

/// Replaces one that is there. Pages outside RAM are left out.
[[nodiscard]] Result<> write_working_set(const WorkingSetPlace&, const PageBitmap& pages,
                                         FileOperations& = FileOperations::real());
/// Ascending, all in RAM, none longer than 1 MiB; empty when there is no such file. Fails when it is damaged, or
/// belongs to another snapshot.
[[nodiscard]] Result<std::vector<PageRange>> read_working_set(const WorkingSetPlace&);

} // namespace aerate::snapshot
