// The commands of the control queue (virtio 1.2, 5.1.6.5), from bytes: how a driver splits them over descriptors is its
// own affair.
#pragma once

#include "base/endian.hpp"
#include "net/offloads.hpp"
#include "net/wire.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <variant>

namespace aerate::net {

struct AcknowledgeAnnouncement {
    bool operator==(const AcknowledgeAnnouncement&) const = default;
};
struct SetGuestOffloads {
    virtio::FeatureSet features; ///< of guest_offload_features, within those that were accepted
    bool operator==(const SetGuestOffloads&) const = default;
};
struct SetPairs {
    std::uint16_t pairs{}; ///< at least 1
    bool operator==(const SetPairs&) const = default;
};
using ControlCommand = std::variant<AcknowledgeAnnouncement, SetGuestOffloads, SetPairs>;

/// Longer than any command that is known: who reads so many bytes has seen that there are too many.
inline constexpr std::size_t control_command_max = 16;

/// Nothing for what is unknown, was not negotiated, is of another length or asks for what was not accepted, or for more
/// pairs of queues than the card has: the answer is an error then.
[[nodiscard]] inline std::optional<ControlCommand>
parse_control_command(std::span<const std::byte> bytes, virtio::FeatureSet accepted, std::uint16_t max_pairs) {
    constexpr std::byte announce{3};
    constexpr std::byte guest_offloads{5};
    constexpr std::byte multi_queue{4};
    constexpr std::byte first{0}; // ACK, SET, VQ_PAIRS_SET
    if (bytes.size() < 2 || bytes[1] != first)
        return std::nullopt;
    const auto data = bytes.subspan(2);
    if (bytes[0] == announce && data.empty() && accepted.has(feature::guest_announce))
        return AcknowledgeAnnouncement{};
    if (bytes[0] == guest_offloads && data.size() == 8 && accepted.has(feature::ctrl_guest_offloads)) {
        const virtio::FeatureSet wanted{load_little_endian<std::uint64_t>(data)};
        if (wanted.within(virtio::FeatureSet{guest_offload_features.bits & accepted.bits}))
            return SetGuestOffloads{wanted};
    }
    if (bytes[0] == multi_queue && data.size() == 2 && accepted.has(feature::multi_queue)) {
        const auto pairs = load_little_endian<std::uint16_t>(data);
        if (pairs >= 1 && pairs <= max_pairs)
            return SetPairs{pairs};
    }
    return std::nullopt;
}

} // namespace aerate::net
