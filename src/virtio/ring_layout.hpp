// How split (virtio 1.2, 2.7) and packed (2.8) rings lie in guest memory, and the arithmetic of event suppression.
// Freestanding: both halves of a ring share it.
//
//     split    descriptor table   16 bytes x size
//              available ring     flags u16, idx u16, ring u16 x size, used_event u16          written by the driver
//              used ring          flags u16, idx u16, ring {id, length} x size, avail_event u16       by the device
//     packed   descriptor ring    16 bytes x size                                                     by both
//              event suppression  offset and wrap u16, flags u16                                      one for each side
#pragma once

#include "base/units.hpp"

#include <cstddef>
#include <cstdint>

namespace aerate::virtio {

inline constexpr std::uint16_t max_queue_size = 32768;
inline constexpr std::uint32_t descriptor_bytes = 16;

namespace descriptor_flag {
inline constexpr std::uint16_t next = 1U << 0;
inline constexpr std::uint16_t write = 1U << 1;
inline constexpr std::uint16_t indirect = 1U << 2;
inline constexpr std::uint16_t available = 1U << 7; ///< packed only
inline constexpr std::uint16_t used = 1U << 15;     ///< packed only
} // namespace descriptor_flag

/// Split ring: one entry of the descriptor table or of an indirect table.
struct SplitDescriptor {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t flags;
    std::uint16_t next;
};
/// Packed ring: one entry of the ring, available or used, or of an indirect table.
struct PackedDescriptor {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t id;
    std::uint16_t flags;
};
static_assert(sizeof(SplitDescriptor) == descriptor_bytes && sizeof(PackedDescriptor) == descriptor_bytes);

[[nodiscard]] constexpr ByteCount descriptor_table_bytes(std::uint16_t size) {
    return {descriptor_bytes * size};
}

namespace split {
inline constexpr std::uint16_t no_notification = 1; ///< flag of either ring: do not kick, do not interrupt
inline constexpr std::size_t flags = 0;
inline constexpr std::size_t index = 2;
inline constexpr std::size_t ring = 4;
[[nodiscard]] constexpr std::size_t available_entry(unsigned slot) {
    return ring + std::size_t{2} * slot;
}
[[nodiscard]] constexpr std::size_t used_event(unsigned size) {
    return available_entry(size);
}
[[nodiscard]] constexpr ByteCount available_ring_bytes(std::uint16_t size) {
    return {used_event(size) + 2};
}
[[nodiscard]] constexpr std::size_t used_entry(unsigned slot) {
    return ring + std::size_t{8} * slot;
}
[[nodiscard]] constexpr std::size_t available_event(unsigned size) {
    return used_entry(size);
}
[[nodiscard]] constexpr ByteCount used_ring_bytes(std::uint16_t size) {
    return {available_event(size) + 2};
}
} // namespace split

/// Returns whether (2.7.7.2, 2.7.10) the index, in going from `before` to `now`, passed the entry that the other side
/// waits for.
[[nodiscard]] constexpr bool event_passed(std::uint16_t event, std::uint16_t now, std::uint16_t before) {
    return static_cast<std::uint16_t>(now - event - 1) < static_cast<std::uint16_t>(now - before);
}

namespace packed {

/// A place in a packed ring: its wrap counter flips each time that it passes the end (2.8.1).
struct Cursor {
    std::uint16_t slot{};
    bool wrap = true;
    bool operator==(const Cursor&) const = default;
    /// REQUIRES: distance <= size.
    constexpr void advance(std::uint16_t distance, std::uint16_t size) {
        const unsigned next = unsigned{slot} + distance;
        wrap = next >= size ? !wrap : wrap;
        slot = static_cast<std::uint16_t>(next >= size ? next - size : next);
    }
    /// Undoes advance(). REQUIRES: distance <= size.
    constexpr void retreat(std::uint16_t distance, std::uint16_t size) {
        wrap = distance > slot ? !wrap : wrap;
        slot = static_cast<std::uint16_t>(distance > slot ? slot + size - distance : slot - distance);
    }
};

[[nodiscard]] constexpr std::uint16_t available_flags(bool wrap) {
    return wrap ? descriptor_flag::available : descriptor_flag::used;
}
[[nodiscard]] constexpr std::uint16_t used_flags(bool wrap) {
    return wrap ? descriptor_flag::available | descriptor_flag::used : 0;
}
[[nodiscard]] constexpr bool is_available(std::uint16_t flags, bool wrap) {
    return (flags & (descriptor_flag::available | descriptor_flag::used)) == available_flags(wrap);
}
[[nodiscard]] constexpr bool is_used(std::uint16_t flags, bool wrap) {
    return (flags & (descriptor_flag::available | descriptor_flag::used)) == used_flags(wrap);
}

/// The second half of a descriptor: all but the address, so that one load sees ID, length and flags of one moment.
struct Tail {
    std::uint32_t length;
    std::uint16_t id;
    std::uint16_t flags;
    [[nodiscard]] static constexpr Tail from(std::uint64_t word) {
        return {static_cast<std::uint32_t>(word), static_cast<std::uint16_t>(word >> 32),
                static_cast<std::uint16_t>(word >> 48)};
    }
    [[nodiscard]] constexpr std::uint64_t word() const {
        return length | std::uint64_t{id} << 32 | std::uint64_t{flags} << 48;
    }
};
inline constexpr std::size_t tail_offset = 8;

inline constexpr ByteCount event_suppression_bytes{4};

/// An event suppression area (2.8.10): when its owner wants to hear from the other side.
struct EventSuppression {
    enum Mode : std::uint16_t { enabled = 0, disabled = 1, at_descriptor = 2 };
    Cursor at;
    std::uint16_t mode = enabled;
    [[nodiscard]] static constexpr EventSuppression from(std::uint32_t word) {
        return {{static_cast<std::uint16_t>(word & 0x7fffU), (word & 0x8000U) != 0},
                static_cast<std::uint16_t>((word >> 16) & 3U)};
    }
    [[nodiscard]] constexpr std::uint32_t word() const {
        return at.slot | (at.wrap ? 0x8000U : 0U) | std::uint32_t{mode} << 16;
    }
    /// Returns whether it is due after `moved` descriptors up to `now`. What is invalid (P5: the reserved mode, an
    /// offset beyond the ring, a descriptor event that was not negotiated) counts as enabled: at worst its owner hears
    /// too often.
    [[nodiscard]] constexpr bool due(Cursor now, std::uint16_t moved, std::uint16_t size, bool event_index) const {
        if (mode == disabled)
            return false;
        if (mode != at_descriptor || !event_index || at.slot >= size)
            return true;
        // Seen from `now`, an event of the other wrap lies one lap back.
        const unsigned event = at.wrap == now.wrap ? at.slot : unsigned{at.slot} - size;
        return event_passed(static_cast<std::uint16_t>(event), now.slot, static_cast<std::uint16_t>(now.slot - moved));
    }
};

} // namespace packed
} // namespace aerate::virtio
