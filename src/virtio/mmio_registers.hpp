// The register file of virtio over MMIO (virtio 1.2, 4.2.2) and the device status bits (2.1). Freestanding: drivers of
// our own use it too.
#pragma once

#include <cstdint>

namespace aerate::virtio {

namespace mmio_register {
inline constexpr std::uint32_t magic = 0x000;
inline constexpr std::uint32_t version = 0x004;
inline constexpr std::uint32_t device_id = 0x008;
inline constexpr std::uint32_t vendor_id = 0x00c;
inline constexpr std::uint32_t device_features = 0x010;
inline constexpr std::uint32_t device_features_select = 0x014;
inline constexpr std::uint32_t driver_features = 0x020;
inline constexpr std::uint32_t driver_features_select = 0x024;
inline constexpr std::uint32_t queue_select = 0x030;
inline constexpr std::uint32_t queue_size_max = 0x034;
inline constexpr std::uint32_t queue_size = 0x038;
inline constexpr std::uint32_t queue_ready = 0x044;
inline constexpr std::uint32_t queue_notify = 0x050;
inline constexpr std::uint32_t interrupt_status = 0x060;
inline constexpr std::uint32_t interrupt_ack = 0x064;
inline constexpr std::uint32_t status = 0x070;
inline constexpr std::uint32_t queue_descriptors_low = 0x080;
inline constexpr std::uint32_t queue_descriptors_high = 0x084;
inline constexpr std::uint32_t queue_driver_low = 0x090;
inline constexpr std::uint32_t queue_driver_high = 0x094;
inline constexpr std::uint32_t queue_device_low = 0x0a0;
inline constexpr std::uint32_t queue_device_high = 0x0a4;
inline constexpr std::uint32_t shared_memory_length_low = 0x0b0;
inline constexpr std::uint32_t shared_memory_length_high = 0x0b4;
inline constexpr std::uint32_t shared_memory_base_low = 0x0b8;
inline constexpr std::uint32_t shared_memory_base_high = 0x0bc;
inline constexpr std::uint32_t config_generation = 0x0fc;
inline constexpr std::uint32_t config = 0x100;
} // namespace mmio_register

inline constexpr std::uint32_t mmio_magic = 0x74726976; ///< "virt"
inline constexpr std::uint32_t mmio_version = 2;

namespace device_status {
inline constexpr std::uint8_t acknowledge = 0x01;
inline constexpr std::uint8_t driver = 0x02;
inline constexpr std::uint8_t driver_ok = 0x04;
inline constexpr std::uint8_t features_ok = 0x08;
inline constexpr std::uint8_t needs_reset = 0x40;
inline constexpr std::uint8_t failed = 0x80;
} // namespace device_status

namespace interrupt_reason {
inline constexpr std::uint32_t used_buffer = 1U << 0;
inline constexpr std::uint32_t config_change = 1U << 1;
} // namespace interrupt_reason

} // namespace aerate::virtio
