// The balloon's config space, its commands, and which queue index is which (virtio 1.2, 5.5).
#pragma once

#include "balloon/config_space.hpp"
#include "balloon/features.hpp"
#include "protocol/hint_commands.hpp"
#include "virtio/features.hpp"

#include <cstdint>

namespace aerate::guestkit {

inline constexpr std::uint32_t balloon_device_type = 5;

namespace balloon_config = balloon::config_space;

using protocol::command_done;
using protocol::command_stop;
using protocol::first_command_id;

inline constexpr std::uint16_t inflate_queue = 0;
inline constexpr std::uint16_t deflate_queue = 1;

/// As Linux counts: an optional queue's index is its position among those that were negotiated.
struct OptionalQueues {
    std::uint16_t statistics{};
    std::uint16_t hinting{};
    std::uint16_t reporting{};

    constexpr explicit OptionalQueues(virtio::FeatureSet negotiated) {
        using namespace balloon;
        statistics = deflate_queue + 1;
        hinting = static_cast<std::uint16_t>(statistics + (negotiated.has(feature::statistics) ? 1 : 0));
        reporting = static_cast<std::uint16_t>(hinting + (negotiated.has(feature::free_page_hinting) ? 1 : 0));
    }
};

} // namespace aerate::guestkit
