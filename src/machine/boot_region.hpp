// Kernel and initrd in a snapshot, so that a restored guest can reset itself where their files are not. They lie in a
// region of memory of their own, above all RAM that a guest can have, and so are digested, sealed and found through a
// chain of diffs as memory is; a diff says nothing of them. No guest ever has that region.
//
//     page 0: magic 8 | length of the kernel 8 | of the initrd 8 | 0 ...      pages of the kernel | pages of the initrd
#pragma once

#include "base/error.hpp"
#include "boot/file.hpp"
#include "memory/guest_memory.hpp"
#include "migration/guest.hpp"
#include "snapshot/snapshot.hpp"
#include "snapshot/writer.hpp"

#include <optional>
#include <span>
#include <vector>

namespace aerate {

/// Returns the region that these need; nothing for none, or for more than a snapshot takes along.
[[nodiscard]] std::optional<MemoryRegion> boot_region(std::span<const migration::Attachment>);
/// Writes them there. REQUIRES: the writer's regions end with that one.
[[nodiscard]] Result<> write_boot_region(snapshot::Writer&, std::span<const migration::Attachment>);

/// Leaves a boot region out of a snapshot's regions.
[[nodiscard]] std::vector<MemoryRegion> ram_of(const std::vector<MemoryRegion>&);
/// Finds what came in a snapshot. Without a key that is left in its file, which is held open; with one it is copied, as
/// a user who can write the file could change it between the check and the guest's reset. Both are empty if nothing
/// came.
[[nodiscard]] Result<BootFiles> boot_files_of(const snapshot::Snapshot&);

} // namespace aerate
