// What the guest's network stack can be handed, and what that means to a tap.
#pragma once

#include "net/wire.hpp"

#include <cstdint>

namespace aerate::net {

/// What frames for the guest may lack: a checksum, or segmentation.
struct GuestOffloads {
    bool checksum = false;
    bool tso4 = false;
    bool tso6 = false;
    bool operator==(const GuestOffloads&) const = default;
};

inline constexpr virtio::FeatureSet guest_offload_features =
    virtio::FeatureSet{}.with(feature::guest_csum).with(feature::guest_tso4).with(feature::guest_tso6);

/// By what the driver has accepted, not by what it was offered: a driver that declines gets whole, finished frames.
/// TSO without a checksum is none (5.1.3.1).
[[nodiscard]] constexpr GuestOffloads guest_offloads(virtio::FeatureSet accepted) {
    const bool checksum = accepted.has(feature::guest_csum);
    return {.checksum = checksum,
            .tso4 = checksum && accepted.has(feature::guest_tso4),
            .tso6 = checksum && accepted.has(feature::guest_tso6)};
}

/// The bits of TUNSETOFFLOAD (linux/if_tun.h).
[[nodiscard]] constexpr unsigned tap_offloads(GuestOffloads offloads) {
    return (offloads.checksum ? 1U : 0U) | (offloads.tso4 ? 2U : 0U) | (offloads.tso6 ? 4U : 0U);
}

} // namespace aerate::net
