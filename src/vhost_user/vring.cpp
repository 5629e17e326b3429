#include "vhost_user/vring.hpp"

#include "vhost_user/inflight.hpp"
#include "virtio/ring_layout.hpp"

namespace aerate::vhost_user {

using virtio::QueuePosition;
using virtio::RingFault;

namespace {

virtio::packed::Cursor cursor_of(std::uint32_t half) {
    return {static_cast<std::uint16_t>(half & 0x7fffU), (half & 0x8000U) != 0};
}

std::uint16_t half_of(std::uint16_t slot, bool wrap) {
    return static_cast<std::uint16_t>(slot | (wrap ? 0x8000U : 0U));
}

QueuePosition both_at(virtio::packed::Cursor cursor) {
    return {cursor.slot, cursor.slot, cursor.wrap, cursor.wrap};
}

std::uint16_t flags_at(const virtio::QueueRegisters& registers, std::uint16_t slot, const GuestMemory& memory) {
    const std::uint64_t flags = std::uint64_t{slot} * virtio::descriptor_bytes + 14;
    return memory.load<std::uint16_t>({registers.descriptors.value + flags}).value_or(0);
}

QueuePosition packed_position(std::uint32_t base, const virtio::QueueRegisters& registers, const GuestMemory& memory) {
    // 0 says "slot 0, wrap counter 0": the end of a lap, when the device has used that slot before; else a new ring.
    if (base == 0)
        return both_at({0, (flags_at(registers, 0, memory) & virtio::descriptor_flag::used) == 0});
    const auto available = cursor_of(base);
    const auto used = cursor_of(base >> 16);
    return {available.slot, used.slot, available.wrap, used.wrap};
}

QueuePosition split_position(std::uint32_t base, const virtio::QueueRegisters& registers, const GuestMemory& memory) {
    const GuestAddress used_index{registers.device.value + virtio::split::index};
    return {static_cast<std::uint16_t>(base), memory.load<std::uint16_t>(used_index).value_or(0)};
}

} // namespace

std::expected<virtio::QueueRegisters, RingFault> registers_of(const Vring& ring, const MemoryTable& table,
                                                              const GuestMemory& memory, virtio::FeatureSet features) {
    if (!ring.addresses)
        return std::unexpected(RingFault::bad_registers);
    const auto descriptors = table.translate(ring.addresses->descriptors);
    const auto available = table.translate(ring.addresses->available);
    const auto used = table.translate(ring.addresses->used);
    if (!descriptors || !available || !used)
        return std::unexpected(RingFault::outside_memory);
    const virtio::QueueRegisters registers{ring.size, *descriptors, *available, *used, true};
    if (const auto fault = virtio::check_registers(registers, virtio::max_queue_size, features, memory))
        return std::unexpected(*fault);
    return registers;
}

std::expected<QueuePosition, RingFault> position_of(const Vring& ring, std::uint16_t index,
                                                    const virtio::QueueRegisters& registers,
                                                    virtio::FeatureSet features, const GuestMemory& memory,
                                                    const Inflight* inflight) {
    QueuePosition position = ring.position;
    if (ring.base) {
        const bool packed = features.has(virtio::feature::ring_packed);
        if (!packed && *ring.base > UINT16_MAX)
            return std::unexpected(RingFault::bad_position);
        position =
            packed ? packed_position(*ring.base, registers, memory) : split_position(*ring.base, registers, memory);
        // What an earlier back-end took and did not use is done again: see Inflight.
        if (inflight != nullptr && !packed) {
            position.next_available = position.next_used;
        } else if (inflight != nullptr) {
            if (const auto used = inflight->used(index, ring.size)) {
                const std::uint16_t flags = flags_at(registers, used->before.slot, memory);
                position = both_at(virtio::packed::is_used(flags, used->before.wrap) ? used->after : used->before);
            }
        }
    }
    if (const auto fault = virtio::check_position(registers, position, features))
        return std::unexpected(*fault);
    return position;
}

std::uint32_t encoded(QueuePosition position, virtio::FeatureSet features) {
    if (!features.has(virtio::feature::ring_packed))
        return position.next_available;
    return half_of(position.next_available, position.available_wrap) |
           std::uint32_t{half_of(position.next_used, position.used_wrap)} << 16;
}

} // namespace aerate::vhost_user
