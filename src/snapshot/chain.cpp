#include "snapshot/chain.hpp"

#include "base/check.hpp"
#include "snapshot/file_path.hpp"
#include "snapshot/snapshot.hpp"

namespace aerate::snapshot {

Result<> check_chain(const Writer::Options& options) {
    CHECK(options.parent);
    const FilePath path(options.path);
    const std::string parent_path = path.directory + options.parent->name;
    const auto parent = Snapshot::open(parent_path, options.key);
    if (!parent)
        return fail("cannot write a diff to {}: {}: write it beside the snapshot that it is a diff of, or take a full "
                    "snapshot",
                    options.path, parent.error().message);
    if (!equal(parent->identity(), options.parent->identity))
        return fail("cannot write a diff to {}: {} is not the snapshot any more that it would be a diff of: take a "
                    "full snapshot",
                    options.path, parent_path);
    if (parent->chain_length() >= Snapshot::chain_max)
        return fail("cannot write a diff to {}: {} is the last of {} files, and there may be no more: take a full "
                    "snapshot",
                    options.path, parent_path, parent->chain_length());
    if (parent->has_file(path.name))
        return fail("cannot write a diff to {}: it would take the place of a file that it needs: give another name",
                    options.path);
    return {};
}

} // namespace aerate::snapshot
