// From the file of a snapshot to a guest that can go on.
#pragma once

#include "base/error.hpp"
#include "control/request.hpp"
#include "control/vm_config.hpp"
#include "machine/hardware.hpp"
#include "snapshot/snapshot.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <span>

namespace aerate {

struct OpenedSnapshot {
    snapshot::Snapshot file;
    control::VmConfig config; ///< of the VM that was saved
    snapshot::WorkingSetPlace working_set;
    bool prefetch = true;
    std::optional<std::chrono::seconds> record_working_set;
};

/// Checks all but memory; with `verify` memory too, which takes as long as reading it.
[[nodiscard]] Result<OpenedSnapshot>
open_snapshot(const control::LoadSnapshot&, const std::function<void(ByteCount done, ByteCount all)>& progress = {});

/// The memory of such a VM, if it is laid out as the saved one was.
[[nodiscard]] Result<MemoryLayout> layout_of(const control::VmConfig&, std::span<const MemoryRegion> saved);

/// Memory is mapped, not read: pages come from the file when the guest touches them or when its working set is read
/// ahead, and what it does not write it shares with every other guest of that file.
[[nodiscard]] Result<SavedGuest> saved_guest(const OpenedSnapshot&);

} // namespace aerate
