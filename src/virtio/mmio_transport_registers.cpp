// What the guest's driver reads and writes (virtio 1.2, 4.2.2), and what each write comes to.
#include "base/endian.hpp"
#include "virtio/mmio_registers.hpp"
#include "virtio/mmio_transport.hpp"
#include "virtio/status_step.hpp"

#include <algorithm>

namespace aerate::virtio {
namespace {

constexpr std::uint32_t vendor_id = 0x54524541; // "AERT"

std::uint32_t word_of(FeatureSet features, std::uint32_t select) {
    return select < 2 ? static_cast<std::uint32_t>(features.bits >> (32 * select)) : 0;
}

void set_low(GuestAddress& address, std::uint32_t value) {
    address.value = (address.value & ~0xffff'ffffULL) | value;
}
void set_high(GuestAddress& address, std::uint32_t value) {
    address.value = (address.value & 0xffff'ffffULL) | std::uint64_t{value} << 32;
}

} // namespace

// --- Register access, on a vCPU's thread ---------------------------------------------------------------------------

void MmioTransport::read(ByteCount offset, std::span<std::byte> into) {
    std::ranges::fill(into, std::byte{0});
    if (offset.value >= mmio_register::config) {
        const std::uint64_t config_offset = offset.value - mmio_register::config;
        if (config_offset <= UINT32_MAX)
            loop_.call([&] { device_.read_config(static_cast<std::uint32_t>(config_offset), into); });
        return;
    }
    if (into.size() != 4 || offset.value % 4 != 0)
        return;
    if (offset.value == mmio_register::interrupt_status)
        return store_little_endian(into, interrupt_status_.load());
    const auto value = loop_.call([&] { return read_register(static_cast<std::uint32_t>(offset.value)); });
    store_little_endian(into, value);
}

void MmioTransport::write(ByteCount offset, std::span<const std::byte> from) {
    if (offset.value >= mmio_register::config) {
        const std::uint64_t config_offset = offset.value - mmio_register::config;
        if (config_offset <= UINT32_MAX)
            loop_.call([&] { device_.write_config(static_cast<std::uint32_t>(config_offset), from, negotiated()); });
        return;
    }
    if (from.size() != 4 || offset.value % 4 != 0)
        return counters_.ignored_writes.add();
    const auto value = load_little_endian<std::uint32_t>(from);
    switch (offset.value) {
    case mmio_register::interrupt_ack:
        interrupt_status_.fetch_and(~value);
        return;
    case mmio_register::queue_notify:
        return ring_doorbell(value);
    default:
        loop_.call([&] { write_register(static_cast<std::uint32_t>(offset.value), value); });
    }
}

// Reached when no ioeventfd took the write. The eventfd is listened to only while the device runs: a kick before
// DRIVER_OK or after a reset does nothing (R21).
void MmioTransport::ring_doorbell(std::uint32_t value) {
    if (value >= queues_.size())
        return counters_.ignored_writes.add();
    queues_[value].kick.signal();
}

// --- Registers, on the loop's thread -------------------------------------------------------------------------------

std::uint32_t MmioTransport::read_register(std::uint32_t offset) const {
    switch (offset) {
    case mmio_register::magic:
        return mmio_magic;
    case mmio_register::version:
        return mmio_version;
    case mmio_register::device_id:
        return static_cast<std::uint32_t>(device_.type());
    case mmio_register::vendor_id:
        return vendor_id;
    case mmio_register::device_features:
        return word_of(offered_, device_features_select_);
    case mmio_register::queue_size_max:
        return selected_max_size();
    case mmio_register::queue_ready:
        return selected() != nullptr && selected()->registers.ready ? 1 : 0;
    case mmio_register::status:
        return status_;
    // No shared memory regions: 4.2.2.1 asks for a length of all ones.
    case mmio_register::shared_memory_length_low:
    case mmio_register::shared_memory_length_high:
    case mmio_register::shared_memory_base_low:
    case mmio_register::shared_memory_base_high:
        return 0xffff'ffff;
    case mmio_register::config_generation:
        return config_generation_;
    default:
        return 0;
    }
}

void MmioTransport::write_register(std::uint32_t offset, std::uint32_t value) {
    switch (offset) {
    case mmio_register::device_features_select:
        device_features_select_ = value;
        return;
    case mmio_register::driver_features_select:
        driver_features_select_ = value;
        return;
    case mmio_register::driver_features:
        return write_driver_features(value);
    case mmio_register::queue_select:
        queue_select_ = value;
        return;
    case mmio_register::queue_ready:
        return write_queue_ready(value);
    case mmio_register::status:
        return write_status(value);
    default:
        return write_queue_register(offset, value);
    }
}

void MmioTransport::write_driver_features(std::uint32_t value) {
    if (has_status(device_status::features_ok))
        return counters_.ignored_writes.add();
    if (driver_features_select_ >= 2) {
        // Bits 64 and up: none is offered, and a driver that knows them writes zeros.
        if (value != 0)
            counters_.ignored_writes.add();
        return;
    }
    const unsigned shift = 32 * driver_features_select_;
    accepted_.bits = (accepted_.bits & ~(0xffff'ffffULL << shift)) | std::uint64_t{value} << shift;
}

// A queue's registers are frozen once it is ready: what was validated is what is used (R12).
void MmioTransport::write_queue_register(std::uint32_t offset, std::uint32_t value) {
    Queue* const queue = selected();
    if (queue == nullptr || queue->registers.ready || has_status(device_status::driver_ok))
        return counters_.ignored_writes.add();
    QueueRegisters& registers = queue->registers;
    switch (offset) {
    case mmio_register::queue_size:
        // What does not fit is kept as a size that is never valid.
        registers.size = value <= UINT16_MAX ? static_cast<std::uint16_t>(value) : std::uint16_t{0};
        return;
    case mmio_register::queue_descriptors_low:
        return set_low(registers.descriptors, value);
    case mmio_register::queue_descriptors_high:
        return set_high(registers.descriptors, value);
    case mmio_register::queue_driver_low:
        return set_low(registers.driver, value);
    case mmio_register::queue_driver_high:
        return set_high(registers.driver, value);
    case mmio_register::queue_device_low:
        return set_low(registers.device, value);
    case mmio_register::queue_device_high:
        return set_high(registers.device, value);
    default:
        return counters_.ignored_writes.add();
    }
}

void MmioTransport::write_queue_ready(std::uint32_t value) {
    Queue* const queue = selected();
    // Before FEATURES_OK it is not known which kind of ring this is; after DRIVER_OK only a reset stops a queue.
    if (queue == nullptr || value > 1 || !has_status(device_status::features_ok) ||
        has_status(device_status::driver_ok))
        return counters_.ignored_writes.add();
    if (value == 1) {
        if (const auto fault = check_registers(queue->registers, selected_max_size(), accepted_, memory_)) {
            counters_.refused_queues.add();
            counters_.add(*fault);
            return;
        }
    }
    queue->registers.ready = value == 1;
}

void MmioTransport::write_status(std::uint32_t value) {
    if (value == 0)
        return reset();
    // NEEDS_RESET is the device's bit: a driver that adds a bit to what it read may write it back.
    const std::uint8_t ours = status_ & device_status::needs_reset;
    const auto from = static_cast<std::uint8_t>(status_ & ~device_status::needs_reset);
    const std::uint32_t wanted = value & ~std::uint32_t{device_status::needs_reset};
    if (wanted == from)
        return;
    if (wanted > UINT8_MAX || (from & device_status::failed) != 0)
        return counters_.ignored_writes.add();
    auto to = static_cast<std::uint8_t>(wanted);
    // The driver may give up at any point (3.1.1).
    if (to == (from | device_status::failed)) {
        status_ |= device_status::failed;
        return ignore_kicks();
    }
    if (!status_step::is_one({from, to}))
        return counters_.ignored_writes.add();
    if (to == status_step::agreed && !features_acceptable())
        return counters_.refused_features.add();
    status_ = to | ours;
    if (to == status_step::running)
        activate();
}

bool MmioTransport::features_acceptable() const {
    return accepted_.within(offered_) && accepted_.has(feature::version_1);
}

MmioTransport::Queue* MmioTransport::selected() {
    return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
}

const MmioTransport::Queue* MmioTransport::selected() const {
    return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
}

std::uint16_t MmioTransport::selected_max_size() const {
    return queue_select_ < queues_.size() ? device_.queue_sizes()[queue_select_] : std::uint16_t{0};
}

} // namespace aerate::virtio
