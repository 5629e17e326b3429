// What a saved VM keeps of its balloon beside the transport.
#pragma once

#include "memory/guest_address.hpp"
#include "memory/hints.hpp"

#include <cstdint>
#include <vector>

namespace aerate::balloon {

struct BalloonState {
    std::uint32_t target = 0; ///< pages
    std::uint32_t actual = 0; ///< pages
    std::uint32_t poison_value = 0;
    /// The newest command ID there ever was. A restored VM starts with DONE in its place: a round that was open is
    /// over, the hints that are still queued count for nothing, and the guest takes its pages back.
    CommandId last_command;
    std::vector<PageRange> ballooned;
    std::vector<PageRange> reported;
    bool operator==(const BalloonState&) const = default;
};

} // namespace aerate::balloon
