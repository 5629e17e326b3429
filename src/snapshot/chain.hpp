// A diff can be restored only with all that it is a diff of.
#pragma once

#include "base/error.hpp"
#include "snapshot/file_path.hpp"
#include "snapshot/writer.hpp"

#include <string>
#include <vector>

namespace aerate::snapshot {

/// Returns the regions that the diff must have, its parent's. Fails when the diff that would be written with these
/// options could not be restored: its parent is not beside it, is another one by now or has another key; the chain
/// would be too long; or the file would take the place of an ancestor. REQUIRES: there is a parent.
[[nodiscard]] Result<std::vector<MemoryRegion>> check_chain(const Writer::Options&);

/// The latest snapshot of a guest, and all that it is a diff of.
struct Lineage {
    std::string latest;
    std::vector<FileId> ancestors; ///< its parent first
};

/// Fails when a file at this path is one that the latest snapshot needs: replaced, it would take that one with it.
[[nodiscard]] Result<> check_not_needed(const std::string& path, const Lineage&);

/// Returns the lineage once the snapshot at `path` was written, as a diff of the latest or as a full one.
[[nodiscard]] Lineage followed_by(const Lineage&, const std::string& path, bool is_diff);

} // namespace aerate::snapshot
