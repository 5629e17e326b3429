// How many guests of other monitors fit into one process, whatever they do. What one takes must not be missing for the
// others: all of it is there from the start, or the daemon does not start.
#pragma once

#include "base/error.hpp"

#include <cstddef>

namespace aerate {

/// A guest with as many memory regions and rings as a front-end can give it: connection, loop, API with its callers
/// and listeners, five rings, log, in-flight region, memory (vhost_user::mem_slots_max) and what a message brings.
inline constexpr std::size_t descriptors_per_guest = 136;
/// Its memory with a guard on both sides of each region, for a moment the old and the new, and a thread's stack.
inline constexpr std::size_t mappings_per_guest = 200;

/// Raises the limit of descriptors as far as it takes. Fails, saying what to change, where this process may not have
/// what so many guests may need.
[[nodiscard]] Result<> make_room_for_guests(std::size_t guests);

} // namespace aerate
