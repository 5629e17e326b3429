// Writes the bytes of a ring as a hostile driver may: any value, anywhere, at any moment.
#pragma once

#include "base/check.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/queue_registers.hpp"
#include "virtio/ring_layout.hpp"

#include <cstdint>
#include <span>

namespace aerate::virtio::testing {

template <typename T>
void poke(GuestMemory& memory, GuestAddress at, const T& value) {
    CHECK(memory.write(at, std::as_bytes(std::span(&value, 1))));
}

template <typename T>
[[nodiscard]] T peek(const GuestMemory& memory, GuestAddress at) {
    T value;
    CHECK(memory.read(at, std::as_writable_bytes(std::span(&value, 1))));
    return value;
}

class RawSplitRing {
public:
    RawSplitRing(GuestMemory& memory, const QueueRegisters& registers)
        : memory_(&memory)
        , registers_(registers) {}

    void descriptor(unsigned slot, const SplitDescriptor& descriptor) {
        poke(*memory_, {registers_.descriptors.value + std::uint64_t{descriptor_bytes} * slot}, descriptor);
    }
    void available_flags(std::uint16_t flags) { poke(*memory_, {registers_.driver.value + split::flags}, flags); }
    void available_index(std::uint16_t index) { poke(*memory_, {registers_.driver.value + split::index}, index); }
    void available_entry(unsigned slot, std::uint16_t head) {
        poke(*memory_, {registers_.driver.value + split::available_entry(slot)}, head);
    }
    void used_event(std::uint16_t event) {
        poke(*memory_, {registers_.driver.value + split::used_event(registers_.size)}, event);
    }
    /// Makes `head` the only chain available, as the first of a fresh ring.
    void offer(std::uint16_t head) {
        available_entry(0, head);
        available_index(1);
    }
    [[nodiscard]] std::uint16_t used_flags() const {
        return peek<std::uint16_t>(*memory_, {registers_.device.value + split::flags});
    }
    void used_index(std::uint16_t index) { poke(*memory_, {registers_.device.value + split::index}, index); }
    [[nodiscard]] std::uint16_t used_index() const {
        return peek<std::uint16_t>(*memory_, {registers_.device.value + split::index});
    }
    [[nodiscard]] std::uint16_t available_event() const {
        return peek<std::uint16_t>(*memory_, {registers_.device.value + split::available_event(registers_.size)});
    }

private:
    GuestMemory* memory_;
    QueueRegisters registers_;
};

class RawPackedRing {
public:
    RawPackedRing(GuestMemory& memory, const QueueRegisters& registers)
        : memory_(&memory)
        , registers_(registers) {}

    void descriptor(unsigned slot, const PackedDescriptor& descriptor) {
        poke(*memory_, {registers_.descriptors.value + std::uint64_t{descriptor_bytes} * slot}, descriptor);
    }
    [[nodiscard]] PackedDescriptor descriptor(unsigned slot) const {
        return peek<PackedDescriptor>(*memory_,
                                      {registers_.descriptors.value + std::uint64_t{descriptor_bytes} * slot});
    }
    /// The driver's event suppression: what it wants to hear from the device.
    void driver_event(std::uint16_t offset_and_wrap, std::uint16_t flags) {
        poke(*memory_, registers_.driver, offset_and_wrap | std::uint32_t{flags} << 16);
    }
    [[nodiscard]] packed::EventSuppression device_event() const {
        return packed::EventSuppression::from(peek<std::uint32_t>(*memory_, registers_.device));
    }

private:
    GuestMemory* memory_;
    QueueRegisters registers_;
};

} // namespace aerate::virtio::testing
