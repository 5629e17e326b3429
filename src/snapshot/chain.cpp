#include "snapshot/chain.hpp"

#include "base/check.hpp"
#include "snapshot/snapshot.hpp"

#include <algorithm>

namespace aerate::snapshot {

Result<std::vector<MemoryRegion>> check_chain(const Writer::Options& options) {
    CHECK(options.parent);
    const FilePath path(options.path);
    const std::string parent_path = path.directory + options.parent->name;
    const auto parent = Snapshot::open(parent_path, options.key);
    if (!parent)
        return fail("cannot write a diff to {}: {}: write it beside the snapshot that it is a diff of, or take a full "
                    "snapshot",
                    options.path, parent.error().message);
    if (!equal(parent->identity(), options.parent->identity))
        return fail("cannot write a diff to {}: {} is no longer the snapshot that it would be a diff of: take a "
                    "full snapshot",
                    options.path, parent_path);
    if (parent->chain_length() >= Snapshot::chain_max)
        return fail("cannot write a diff to {}: {} is the last of {} files, and there may be no more: take a full "
                    "snapshot",
                    options.path, parent_path, parent->chain_length());
    if (parent->has_file(path.name))
        return fail("cannot write a diff to {}: it would take the place of a file that it needs: give another name",
                    options.path);
    return parent->regions();
}

Result<> check_not_needed(const std::string& path, const Lineage& lineage) {
    const auto there = file_id(path);
    if (there && std::ranges::find(lineage.ancestors, *there) != lineage.ancestors.end())
        return fail("cannot replace {}: {}, the latest snapshot of this VM, is a diff of it and could no longer be "
                    "restored: give another name",
                    path, lineage.latest);
    return {};
}

Lineage followed_by(const Lineage& before, const std::string& path, bool is_diff) {
    const FilePath written(path);
    Lineage lineage{.latest = written.name, .ancestors = {}};
    if (!is_diff)
        return lineage;
    // A diff lies beside what it is a diff of.
    if (const auto parent = file_id(written.directory + before.latest))
        lineage.ancestors.push_back(*parent);
    lineage.ancestors.insert(lineage.ancestors.end(), before.ancestors.begin(), before.ancestors.end());
    return lineage;
}

} // namespace aerate::snapshot
