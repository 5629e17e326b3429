// From the file of a snapshot to a guest that can go on.
#pragma once

#include "base/error.hpp"
#include "control/request.hpp"
#include "control/vm_config.hpp"
#include "machine/hardware.hpp"
#include "machine/host_files.hpp"
#include "snapshot/snapshot.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <span>

namespace aerate {

struct OpenedSnapshot {
    snapshot::Snapshot file;
    control::VmConfig config; ///< of the VM that was saved, with the files that it has here
    std::shared_ptr<HostFiles> files;
    std::optional<FaultHandlerPlace> fault_handler; ///< that supplies the memory, in place of the file
    snapshot::WorkingSetPlace working_set;
    bool prefetch = true;
    std::optional<std::chrono::seconds> record_working_set;
    ClockAfterRestore clock = ClockAfterRestore::goes_on;
};

/// Checks all but memory, and opens the files that were granted; with `verify` memory too, which takes as long as
/// reading it. With a key that is left to saved_guest(), which does it always.
[[nodiscard]] Result<OpenedSnapshot> open_snapshot(const control::LoadSnapshot&, const std::string& name,
                                                   const snapshot::Progress& = {});

/// Returns the memory layout of such a VM, if it is that of the saved one.
[[nodiscard]] Result<MemoryLayout> layout_of(const control::VmConfig&, std::span<const MemoryRegion> saved);

/// Maps the memory instead of reading it: pages come from the file when the guest touches them or when its working set
/// is read ahead, and what it does not write it shares with every other guest of that file. With a key it is read and
/// authenticated as a whole: see snapshot::Snapshot::restore().
[[nodiscard]] Result<SavedGuest> saved_guest(const OpenedSnapshot&, const snapshot::Progress& = {});

} // namespace aerate
