// The driver's half of a virtqueue: for guests of our own, and for tests and benchmarks of the device's half.
//
//     std::array<DriverSlot, 256> slots;
//     SplitDriver queue(memory, slots, {.event_index = true});
//     queue.add(std::array{DriverBuffer{address, length, true}}, token);
//     if (queue.publish()) kick(...);
//     while (const auto used = queue.take_used()) ...
//
// Freestanding: no allocation, no exceptions, no library calls beyond memcpy and memset. One thread. The slots are
// private to the driver; nothing that the device writes is used as an index unchecked.
#pragma once

#include "memory/guest_address.hpp"
#include "virtio/queue_registers.hpp"
#include "virtio/ring_layout.hpp"
#include "virtio/shared_word.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace aerate::virtio {

struct DriverBuffer {
    GuestAddress address;
    std::uint32_t length{};
    bool device_writable = false;
};

/// A chain that the device is done with.
struct UsedChain {
    std::uint32_t token{};
    std::uint32_t written{};
    bool operator==(const UsedChain&) const = default;
};

/// Memory that both sides reach: where the driver has it, and where the device looks for it. Aligned to 16 bytes.
struct RingMemory {
    std::byte* host = nullptr;
    GuestAddress guest;
};

/// What the driver remembers of a descriptor (split) or buffer ID (packed).
struct DriverSlot {
    std::uint32_t token{};
    std::uint16_t next{};   ///< in the list of free ones, or in its chain (split)
    std::uint16_t length{}; ///< descriptors of the chain that begins here; 0 when none does
};

struct DriverOptions {
    bool event_index = false;
};

/// The device reads readable buffers before it writes writable ones, so they come first in a chain (2.7.4.2).
class SplitDriver {
public:
    /// REQUIRES: slots.size() is a power of two up to 32768; `memory` holds ring_bytes() of it.
    SplitDriver(RingMemory memory, std::span<DriverSlot> slots, DriverOptions options = {})
        : descriptors_(memory.host)
        , available_(memory.host + available_offset(size_of(slots)))
        , used_(memory.host + used_offset(size_of(slots)))
        , base_(memory.guest)
        , slots_(slots.data())
        , size_(size_of(slots))
        , free_(size_)
        , event_index_(options.event_index) {
        std::memset(memory.host, 0, ring_bytes(size_).value);
        for (unsigned slot = 0; slot < size_; ++slot)
            slots_[slot] = {.token = 0, .next = static_cast<std::uint16_t>(slot + 1), .length = 0};
    }

    [[nodiscard]] static constexpr ByteCount ring_bytes(std::uint16_t size) {
        return {used_offset(size) + split::used_ring_bytes(size).value};
    }
    [[nodiscard]] QueueRegisters registers() const {
        return {size_, base_, {base_.value + available_offset(size_)}, {base_.value + used_offset(size_)}, true};
    }
    [[nodiscard]] std::uint16_t free_slots() const { return free_; }

    /// Adds a chain, unseen by the device until publish(). False, with nothing added, when the ring is too full.
    [[nodiscard]] bool add(std::span<const DriverBuffer> chain, std::uint32_t token) {
        if (chain.empty() || chain.size() > free_)
            return false;
        const std::uint16_t head = free_head_;
        std::uint16_t slot = head;
        for (std::size_t i = 0; i < chain.size(); ++i) {
            const bool last = i + 1 == chain.size();
            write_descriptor(slot, chain[i].address.value, chain[i].length,
                             static_cast<std::uint16_t>((chain[i].device_writable ? descriptor_flag::write : 0U) |
                                                        (last ? 0U : descriptor_flag::next)),
                             last ? std::uint16_t{0} : slots_[slot].next);
            slot = slots_[slot].next;
        }
        take_slots(head, slot, static_cast<std::uint16_t>(chain.size()), token);
        return true;
    }

    /// Does the same with one descriptor, which refers to a table of the others. The device may read `table` until it
    /// has used the chain. REQUIRES: INDIRECT_DESC negotiated; `table` holds 16 bytes for each buffer.
    [[nodiscard]] bool add_indirect(std::span<const DriverBuffer> chain, RingMemory table, std::uint32_t token) {
        if (chain.empty() || free_ == 0)
            return false;
        for (std::size_t i = 0; i < chain.size(); ++i) {
            const bool last = i + 1 == chain.size();
            const SplitDescriptor entry{
                chain[i].address.value, chain[i].length,
                static_cast<std::uint16_t>((chain[i].device_writable ? descriptor_flag::write : 0U) |
                                           (last ? 0U : descriptor_flag::next)),
                static_cast<std::uint16_t>(last ? 0 : i + 1)};
            std::memcpy(table.host + i * descriptor_bytes, &entry, sizeof entry);
        }
        const std::uint16_t head = free_head_;
        write_descriptor(head, table.guest.value, static_cast<std::uint32_t>(chain.size() * descriptor_bytes),
                         descriptor_flag::indirect, 0);
        take_slots(head, slots_[head].next, 1, token);
        return true;
    }

    /// Makes what was added visible. True: the device wants a kick.
    [[nodiscard]] bool publish() {
        const std::uint16_t before = published_;
        if (before == next_available_)
            return false;
        published_ = next_available_;
        store_word(available_ + split::index, published_, std::memory_order_release);
        full_barrier();
        if (event_index_)
            return event_passed(load_word<std::uint16_t>(used_ + split::available_event(size_)), published_, before);
        return (load_word<std::uint16_t>(used_ + split::flags) & split::no_notification) == 0;
    }

    /// Returns the next used chain. Nothing if there is none, or if the device wrote an ID that it does not have.
    [[nodiscard]] std::optional<UsedChain> take_used() {
        if (load_word<std::uint16_t>(used_ + split::index, std::memory_order_acquire) == next_used_) {
            if (!wants_interrupts_ || !event_index_ || armed_at_ == next_used_)
                return std::nullopt;
            want_interrupts(true);
            if (load_word<std::uint16_t>(used_ + split::index, std::memory_order_acquire) == next_used_)
                return std::nullopt;
        }
        std::byte* const entry = used_ + split::used_entry(next_used_ % size_);
        const auto head = load_word<std::uint32_t>(entry);
        const auto written = load_word<std::uint32_t>(entry + 4);
        if (head >= size_ || slots_[head].length == 0)
            return std::nullopt;
        ++next_used_;
        free_chain(static_cast<std::uint16_t>(head));
        return UsedChain{slots_[head].token, written};
    }

    /// Sets whether the device should interrupt for the next used chain. After asking for it, take_used() once more.
    void want_interrupts(bool want) {
        wants_interrupts_ = want;
        if (!event_index_) {
            store_word(available_ + split::flags, want ? std::uint16_t{0} : split::no_notification);
        } else if (want) {
            armed_at_ = next_used_;
            store_word(available_ + split::used_event(size_), next_used_);
        }
        full_barrier();
    }

private:
    [[nodiscard]] static constexpr std::uint16_t size_of(std::span<DriverSlot> slots) {
        return static_cast<std::uint16_t>(slots.size());
    }
    [[nodiscard]] static constexpr std::size_t available_offset(std::uint16_t size) {
        return descriptor_table_bytes(size).value;
    }
    [[nodiscard]] static constexpr std::size_t used_offset(std::uint16_t size) {
        return (available_offset(size) + split::available_ring_bytes(size).value + 3) & ~std::size_t{3};
    }

    void write_descriptor(std::uint16_t slot, std::uint64_t address, std::uint32_t length, std::uint16_t flags,
                          std::uint16_t next) {
        const SplitDescriptor descriptor{address, length, flags, next};
        std::memcpy(descriptors_ + std::size_t{slot} * descriptor_bytes, &descriptor, sizeof descriptor);
    }

    void take_slots(std::uint16_t head, std::uint16_t next_free, std::uint16_t count, std::uint32_t token) {
        slots_[head].token = token;
        slots_[head].length = count;
        free_head_ = next_free;
        free_ = static_cast<std::uint16_t>(free_ - count);
        store_word(available_ + split::available_entry(next_available_ % size_), head);
        ++next_available_;
    }

    void free_chain(std::uint16_t head) {
        std::uint16_t last = head;
        for (unsigned i = 1; i < slots_[head].length; ++i)
            last = slots_[last].next;
        slots_[last].next = free_head_;
        free_head_ = head;
        free_ = static_cast<std::uint16_t>(free_ + slots_[head].length);
        slots_[head].length = 0;
    }

    std::byte* descriptors_;
    std::byte* available_;
    std::byte* used_;
    GuestAddress base_;
    DriverSlot* slots_;
    std::uint16_t size_;
    std::uint16_t free_;
    bool event_index_;
    bool wants_interrupts_ = true;
    std::uint16_t free_head_ = 0;
    std::uint16_t next_available_ = 0;
    std::uint16_t published_ = 0;
    std::uint16_t next_used_ = 0;
    std::uint16_t armed_at_ = 0; ///< used_event as we last wrote it
};

/// The packed ring's driver. The flags of a batch's first descriptor are written last, by publish(), so the device,
/// which goes in order, sees all of the batch or nothing (2.8.6, 2.8.21).
class PackedDriver {
public:
    /// REQUIRES: slots.size() is 1 to 32768; `memory` holds ring_bytes() of it.
    PackedDriver(RingMemory memory, std::span<DriverSlot> slots, DriverOptions options = {})
        : ring_(memory.host)
        , driver_event_(memory.host + descriptor_table_bytes(static_cast<std::uint16_t>(slots.size())).value)
        , device_event_(driver_event_ + packed::event_suppression_bytes.value)
        , base_(memory.guest)
        , slots_(slots.data())
        , size_(static_cast<std::uint16_t>(slots.size()))
        , free_(size_)
        , event_index_(options.event_index) {
        std::memset(memory.host, 0, ring_bytes(size_).value);
        for (unsigned id = 0; id < size_; ++id)
            slots_[id] = {.token = 0, .next = static_cast<std::uint16_t>(id + 1), .length = 0};
    }

    [[nodiscard]] static constexpr ByteCount ring_bytes(std::uint16_t size) {
        return {descriptor_table_bytes(size).value + 2 * packed::event_suppression_bytes.value};
    }
    [[nodiscard]] QueueRegisters registers() const {
        const std::uint64_t events = base_.value + descriptor_table_bytes(size_).value;
        return {size_, base_, {events}, {events + packed::event_suppression_bytes.value}, true};
    }
    [[nodiscard]] std::uint16_t free_slots() const { return free_; }

    /// Does what SplitDriver::add() does.
    [[nodiscard]] bool add(std::span<const DriverBuffer> chain, std::uint32_t token) {
        if (chain.empty() || chain.size() > free_)
            return false;
        const std::uint16_t id = take_id(static_cast<std::uint16_t>(chain.size()), token);
        for (std::size_t i = 0; i < chain.size(); ++i) {
            const bool last = i + 1 == chain.size();
            write_descriptor(chain[i].address, chain[i].length, id,
                             static_cast<std::uint16_t>((chain[i].device_writable ? descriptor_flag::write : 0U) |
                                                        (last ? 0U : descriptor_flag::next)));
        }
        return true;
    }

    /// Does what SplitDriver::add_indirect() does.
    [[nodiscard]] bool add_indirect(std::span<const DriverBuffer> chain, RingMemory table, std::uint32_t token) {
        if (chain.empty() || free_ == 0)
            return false;
        for (std::size_t i = 0; i < chain.size(); ++i) {
            const PackedDescriptor entry{chain[i].address.value, chain[i].length, 0,
                                         chain[i].device_writable ? descriptor_flag::write : std::uint16_t{0}};
            std::memcpy(table.host + i * descriptor_bytes, &entry, sizeof entry);
        }
        const std::uint16_t id = take_id(1, token);
        write_descriptor(table.guest, static_cast<std::uint32_t>(chain.size() * descriptor_bytes), id,
                         descriptor_flag::indirect);
        return true;
    }

    /// Does what SplitDriver::publish() does.
    [[nodiscard]] bool publish() {
        if (added_ == 0)
            return false;
        store_word(ring_ + first_tail_, first_word_, std::memory_order_release);
        full_barrier();
        const std::uint16_t added = added_;
        added_ = 0;
        return packed::EventSuppression::from(load_word<std::uint32_t>(device_event_))
            .due(next_available_, added, size_, event_index_);
    }

    /// Does what SplitDriver::take_used() does.
    [[nodiscard]] std::optional<UsedChain> take_used() {
        auto used = load_next_used();
        if (!used && wants_interrupts_ && event_index_ && armed_at_ != next_used_) {
            want_interrupts(true);
            used = load_next_used();
        }
        if (!used || used->id >= size_ || slots_[used->id].length == 0)
            return std::nullopt;
        DriverSlot& slot = slots_[used->id];
        next_used_.advance(slot.length, size_);
        free_ = static_cast<std::uint16_t>(free_ + slot.length);
        slot.length = 0;
        slot.next = free_head_;
        free_head_ = used->id;
        // 2.8.4: without WRITE the length means nothing.
        return UsedChain{slot.token, (used->flags & descriptor_flag::write) != 0 ? used->length : 0};
    }

    /// Does what SplitDriver::want_interrupts() does.
    void want_interrupts(bool want) {
        using packed::EventSuppression;
        wants_interrupts_ = want;
        armed_at_ = next_used_;
        const std::uint16_t mode = !want          ? EventSuppression::disabled
                                   : event_index_ ? EventSuppression::at_descriptor
                                                  : EventSuppression::enabled;
        store_word(driver_event_, EventSuppression{next_used_, mode}.word());
        full_barrier();
    }

private:
    [[nodiscard]] std::optional<packed::Tail> load_next_used() const {
        const std::size_t tail = std::size_t{next_used_.slot} * descriptor_bytes + packed::tail_offset;
        const auto word = packed::Tail::from(load_word<std::uint64_t>(ring_ + tail, std::memory_order_acquire));
        if (!packed::is_used(word.flags, next_used_.wrap))
            return std::nullopt;
        return word;
    }

    [[nodiscard]] std::uint16_t take_id(std::uint16_t length, std::uint32_t token) {
        const std::uint16_t id = free_head_;
        free_head_ = slots_[id].next;
        slots_[id].token = token;
        slots_[id].length = length;
        free_ = static_cast<std::uint16_t>(free_ - length);
        return id;
    }

    void write_descriptor(GuestAddress address, std::uint32_t length, std::uint16_t id, std::uint16_t flags) {
        const std::size_t offset = std::size_t{next_available_.slot} * descriptor_bytes;
        const packed::Tail tail{length, id,
                                static_cast<std::uint16_t>(flags | packed::available_flags(next_available_.wrap))};
        store_word(ring_ + offset, address.value);
        if (added_ == 0) {
            first_tail_ = offset + packed::tail_offset;
            first_word_ = tail.word();
        } else {
            store_word(ring_ + offset + packed::tail_offset, tail.word(), std::memory_order_release);
        }
        next_available_.advance(1, size_);
        ++added_;
    }

    std::byte* ring_;
    std::byte* driver_event_;
    std::byte* device_event_;
    GuestAddress base_;
    DriverSlot* slots_;
    std::uint16_t size_;
    std::uint16_t free_;
    bool event_index_;
    bool wants_interrupts_ = true;
    std::uint16_t free_head_ = 0;
    packed::Cursor next_available_;
    packed::Cursor next_used_;
    packed::Cursor armed_at_; ///< the driver's event suppression as we last wrote it
    std::uint16_t added_ = 0; ///< descriptors since the last publish()
    std::size_t first_tail_ = 0;
    std::uint64_t first_word_ = 0;
};

} // namespace aerate::virtio
