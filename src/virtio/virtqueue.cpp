#include "virtio/virtqueue.hpp"

#include "virtio/packed_ring.hpp"
#include "virtio/split_ring.hpp"

#include <bit>

namespace aerate::virtio {
namespace {

struct RingPart {
    GuestAddress address;
    ByteCount length;
    std::uint64_t alignment;
};

std::optional<RingFault> check_part(const RingPart& part, const GuestMemory& memory) {
    if (part.address.value % part.alignment != 0)
        return RingFault::bad_registers;
    for (const MappedRegion& region : memory.regions()) {
        const std::uint64_t offset = part.address.value - region.guest.start.value;
        if (part.address >= region.guest.start && offset < region.guest.length.value)
            return part.length.value <= region.guest.length.value - offset ? std::nullopt
                                                                           : std::optional(RingFault::outside_memory);
    }
    return RingFault::outside_memory;
}

} // namespace

std::string_view describe(RingFault fault) {
    switch (fault) {
    case RingFault::chain_too_long:
        return "a descriptor chain loops, or is longer than its ring";
    case RingFault::index_out_of_range:
        return "a descriptor index or buffer ID is beyond the ring";
    case RingFault::bad_indirect:
        return "an indirect descriptor is malformed";
    case RingFault::readable_after_writable:
        return "a device-readable buffer follows a device-writable one";
    case RingFault::chain_too_large:
        return "a descriptor chain has more than 2^32 bytes";
    case RingFault::available_jumped:
        return "the available index is further ahead than the ring is long";
    case RingFault::too_many_in_flight:
        return "descriptors were made available again before they were used";
    case RingFault::outside_memory:
        return "the ring or an indirect table is not in guest memory";
    case RingFault::bad_registers:
        return "the ring's size or alignment is not allowed";
    case RingFault::bad_position:
        return "the saved position of the ring is inconsistent";
    }
    return "unknown";
}

// Sizes and alignments: virtio 1.2, 2.7 and 2.8.10.1.
std::optional<RingFault> check_registers(const QueueRegisters& registers, std::uint16_t max_size, FeatureSet features,
                                         const GuestMemory& memory) {
    const std::uint16_t size = registers.size;
    const bool is_packed = features.has(feature::ring_packed);
    if (size == 0 || size > max_size || size > max_queue_size || (!is_packed && !std::has_single_bit(size)))
        return RingFault::bad_registers;
    const RingPart split_parts[] = {
        {registers.descriptors, descriptor_table_bytes(size), 16},
        {registers.driver, split::available_ring_bytes(size), 2},
        {registers.device, split::used_ring_bytes(size), 4},
    };
    const RingPart packed_parts[] = {
        {registers.descriptors, descriptor_table_bytes(size), 16},
        {registers.driver, packed::event_suppression_bytes, 4},
        {registers.device, packed::event_suppression_bytes, 4},
    };
    for (const RingPart& part : is_packed ? packed_parts : split_parts)
        if (const auto fault = check_part(part, memory))
            return fault;
    return std::nullopt;
}

std::optional<RingFault> check_position(const QueueRegisters& registers, QueuePosition position, FeatureSet features) {
    if (!features.has(feature::ring_packed)) {
        const auto ahead = static_cast<std::uint16_t>(position.next_available - position.next_used);
        return ahead <= registers.size ? std::nullopt : std::optional(RingFault::bad_position);
    }
    // On the same lap the available side is ahead; on different laps it has passed the end and is behind (2.8.1).
    const bool same_lap = position.available_wrap == position.used_wrap;
    const bool possible =
        position.next_available < registers.size && position.next_used < registers.size &&
        (same_lap ? position.next_available >= position.next_used : position.next_available <= position.next_used);
    return possible ? std::nullopt : std::optional(RingFault::bad_position);
}

std::unique_ptr<Virtqueue> make_virtqueue(const QueueRegisters& registers, QueuePosition position, FeatureSet features,
                                          GuestMemory& memory) {
    if (features.has(feature::ring_packed))
        return std::make_unique<PackedRing>(registers, position, features, memory);
    return std::make_unique<SplitRing>(registers, position, features, memory);
}

} // namespace aerate::virtio
