// Reading ahead what a restored guest will touch first, and noting what that is.
//
// Each fails when the host refuses the thread, and runs on it until it is through or asked to stop, as the thread's
// destructor does. The vCPUs do not wait for it: a page that it has not come to is read when the guest touches it.
#pragma once

#include "memory/guest_memory.hpp"
#include "snapshot/working_set.hpp"

#include <chrono>
#include <thread>
#include <vector>

namespace aerate {

/// Maps the pages' content from the host's cache, and reads what is not there; pages stay shared with other guests.
/// `memory` outlives the thread.
[[nodiscard]] Result<std::jthread> prefetch(const GuestMemory& memory, std::vector<PageRange>);

struct WorkingSetRecording {
    snapshot::WorkingSetPlace place;
    std::chrono::seconds after{}; ///< how long the guest is given
};
/// Writes down which pages have been touched by then. The same about `memory`.
[[nodiscard]] Result<std::jthread> record_working_set(const GuestMemory& memory, WorkingSetRecording);

} // namespace aerate
