// What a saved VM keeps of its balloon beside the transport.
#pragma once

#include "base/error.hpp"
#include "memory/guest_address.hpp"
#include "memory/hints.hpp"
#include "virtio/device.hpp"

#include <cstdint>
#include <vector>

namespace aerate::balloon {

struct BalloonState {
    std::uint32_t target = 0; ///< pages
    std::uint32_t actual = 0; ///< pages
    std::uint32_t poison_value = 0;
    /// The newest command ID that was ever published. A restored VM starts with DONE in its place: a round that was
    /// open is over, the hints that are still queued count for nothing, and the guest takes its pages back.
    CommandId last_command;
    std::vector<PageRange> ballooned;
    std::vector<PageRange> reported;
    bool operator==(const BalloonState&) const = default;
};

[[nodiscard]] virtio::DeviceState encode(const BalloonState&);
/// Takes every version that was ever released. The code that restores them checks the values.
[[nodiscard]] Result<BalloonState> decode(const virtio::DeviceState&);

} // namespace aerate::balloon
