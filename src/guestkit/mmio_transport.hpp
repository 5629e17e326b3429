// The driver's side of virtio over MMIO, version 2 (virtio 1.2, 4.2).
#pragma once

#include "base/units.hpp"
#include "memory/guest_address.hpp"
#include "virtio/features.hpp"
#include "virtio/mmio_registers.hpp"
#include "virtio/queue_registers.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace aerate::guestkit {

/// How registers and memory are reached: in a kernel through its mappings, in a test on a make-believe device.
template <typename T>
concept MmioAccess = requires(T access, GuestAddress address, std::uint32_t value) {
    { access.read(address) } -> std::same_as<std::uint32_t>;
    { access.write(address, value) };
    { access.memory(address) } -> std::same_as<std::byte*>;
};

/// Places where a device may be.
struct MmioSlots {
    GuestAddress first;
    ByteCount stride;
    unsigned count = 0;
};

template <MmioAccess Access>
class MmioTransport {
    using Register = std::uint32_t;

public:
    MmioTransport(Access access, GuestAddress base)
        : access_(access)
        , base_(base) {}

    /// Returns the first device of this type (virtio 1.2, 5: balloon 5, block 2).
    [[nodiscard]] static std::optional<MmioTransport> find(Access access, MmioSlots slots, std::uint32_t device_type) {
        for (unsigned i = 0; i < slots.count; ++i) {
            MmioTransport slot(access, {slots.first.value + i * slots.stride.value});
            if (slot.read(virtio::mmio_register::magic) == virtio::mmio_magic &&
                slot.read(virtio::mmio_register::version) == virtio::mmio_version &&
                slot.read(virtio::mmio_register::device_id) == device_type)
                return slot;
        }
        return std::nullopt;
    }

    /// Does steps 1 to 6 of virtio 1.2, 3.1.1.
    [[nodiscard]] std::optional<virtio::FeatureSet> negotiate(virtio::FeatureSet wanted) {
        using namespace virtio::device_status;
        reset();
        add_status(acknowledge);
        add_status(driver);
        const virtio::FeatureSet accepted{offered().bits & wanted.bits};
        for (std::uint32_t half = 0; half < 2; ++half) {
            write(virtio::mmio_register::driver_features_select, half);
            write(virtio::mmio_register::driver_features, static_cast<std::uint32_t>(accepted.bits >> (32 * half)));
        }
        add_status(features_ok);
        if ((status() & features_ok) == 0)
            return std::nullopt;
        return accepted;
    }
    void reset() {
        write(virtio::mmio_register::status, 0);
        while (status() != 0) {
        }
    }
    [[nodiscard]] virtio::FeatureSet offered() {
        std::uint64_t bits = 0;
        for (std::uint32_t half = 0; half < 2; ++half) {
            write(virtio::mmio_register::device_features_select, half);
            bits |= std::uint64_t{read(virtio::mmio_register::device_features)} << (32 * half);
        }
        return {bits};
    }

    [[nodiscard]] std::uint16_t max_queue_size(std::uint16_t queue) {
        write(virtio::mmio_register::queue_select, queue);
        return static_cast<std::uint16_t>(read(virtio::mmio_register::queue_size_max));
    }
    /// Returns false when the device does not accept it.
    [[nodiscard]] bool set_queue(std::uint16_t queue, const virtio::QueueRegisters& registers) {
        write(virtio::mmio_register::queue_select, queue);
        write(virtio::mmio_register::queue_size, registers.size);
        write_address(virtio::mmio_register::queue_descriptors_low, registers.descriptors);
        write_address(virtio::mmio_register::queue_driver_low, registers.driver);
        write_address(virtio::mmio_register::queue_device_low, registers.device);
        write(virtio::mmio_register::queue_ready, 1);
        return read(virtio::mmio_register::queue_ready) == 1;
    }
    void start() { add_status(virtio::device_status::driver_ok); }

    [[nodiscard]] std::uint8_t status() { return static_cast<std::uint8_t>(read(virtio::mmio_register::status)); }
    [[nodiscard]] std::uint32_t read_config(std::uint32_t offset) {
        return read(virtio::mmio_register::config + offset);
    }
    void write_config(std::uint32_t offset, std::uint32_t value) {
        write(virtio::mmio_register::config + offset, value);
    }
    void kick(std::uint16_t queue) { write(virtio::mmio_register::queue_notify, queue); }
    /// Returns and acknowledges why the device interrupted: bits of virtio::interrupt_reason.
    [[nodiscard]] std::uint32_t take_interrupts() {
        const std::uint32_t reasons = read(virtio::mmio_register::interrupt_status);
        if (reasons != 0)
            write(virtio::mmio_register::interrupt_ack, reasons);
        return reasons;
    }
    [[nodiscard]] std::byte* page(FrameNumber frame) { return access_.memory(address_of(frame)); }

    // Any register, for drivers that misbehave.
    [[nodiscard]] std::uint32_t read(Register offset) { return access_.read({base_.value + offset}); }
    void write(Register offset, std::uint32_t value) { access_.write({base_.value + offset}, value); }

private:
    void add_status(std::uint8_t bit) { write(virtio::mmio_register::status, status() | std::uint32_t{bit}); }
    /// Writes an address, whose upper half is in the register behind the lower.
    void write_address(Register low, GuestAddress address) {
        write(low, static_cast<std::uint32_t>(address.value));
        write(low + 4, static_cast<std::uint32_t>(address.value >> 32));
    }

    Access access_;
    GuestAddress base_;
};

} // namespace aerate::guestkit
