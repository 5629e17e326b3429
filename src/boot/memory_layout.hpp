// Where everything is in the guest-physical address space.
//
//     0x0000'0000  RAM: boot data in the first 640 KiB, ACPI tables at 0xe0000, the kernel from 1 MiB up
//     0xc000'0000  hole: virtio devices, IOAPIC, local APICs, the pages that KVM needs on Intel
//     0x1'0000'0000  the rest of RAM
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "memory/guest_address.hpp"
#include "memory/guest_memory.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace aerate::layout {

// Boot data. Free for the kernel's use once it has read it.
inline constexpr GuestAddress gdt{0x1000};
inline constexpr GuestAddress boot_params{0x7000};  ///< the "zero page" of the Linux boot protocol
inline constexpr GuestAddress start_info{0x8000};   ///< of PVH, with its module list and memory map behind it
inline constexpr GuestAddress page_tables{0x10000}; ///< six pages
inline constexpr GuestAddress command_line{0x20000};
inline constexpr ByteCount command_line_limit{0x10000}; ///< with its final zero
inline constexpr GuestAddress low_memory_end{0x9fc00};  ///< where a PC's extended BIOS data area begins

inline constexpr GuestAddress acpi_tables{0xe0000};   ///< the RSDP first: where a kernel looks that was not told
inline constexpr GuestAddress vm_clock{0xfe000};      ///< a page that programs in the guest can map
inline constexpr GuestAddress generation_id{0xff000}; ///< 16 bytes, a new one for each copy of the guest
inline constexpr GuestAddress reset_vector{0xffff0};  ///< where a processor in real mode starts
inline constexpr GuestAddress acpi_end{0x100000};
inline constexpr GuestAddress high_memory{0x100000};

inline constexpr GuestAddress hole_start{0xc0000000};
inline constexpr GuestAddress hole_end{0x100000000};
inline constexpr GuestAddress boot_timer{0xc0000000}; ///< where Firecracker's is; only with --boot-timer
inline constexpr GuestAddress virtio_mmio{0xd0000000};
inline constexpr ByteCount virtio_mmio_stride{0x1000};
inline constexpr GuestAddress io_apic{0xfec00000};
inline constexpr GuestAddress local_apic{0xfee00000};

// Interrupt lines, as GSIs: the IOAPIC's pins.
inline constexpr std::uint32_t keyboard_gsi = 1;   ///< as on every PC: no table tells of it
inline constexpr std::uint32_t generation_gsi = 3; ///< a PC's second serial port, which there is none of
inline constexpr std::uint32_t serial_gsi = 4;
inline constexpr std::uint32_t power_button_gsi = 5;
inline constexpr std::uint32_t first_virtio_gsi = 6;
inline constexpr std::uint32_t gsi_count = 24;
inline constexpr unsigned max_virtio_devices = gsi_count - first_virtio_gsi;

// I/O ports.
inline constexpr std::uint16_t serial_port = 0x3f8;
inline constexpr std::uint16_t panic_port = 0x505;         ///< where QEMU's pvpanic is
inline constexpr std::uint16_t sleep_control_port = 0x600; ///< FADT SLEEP_CONTROL_REG: see sleep_control_power_off
inline constexpr std::uint16_t sleep_status_port = 0x601;  ///< reads as zero, writes are ignored
inline constexpr std::uint16_t reset_port = 0x602;         ///< FADT RESET_REG

inline constexpr unsigned soft_off_type = 5; ///< SLP_TYPx of S5, as the DSDT's \_S5 says
/// What is written to sleep_control_port to power off: SLP_EN and the type (ACPI 6.4, 4.8.3.7).
inline constexpr std::uint8_t sleep_control_power_off = (soft_off_type << 2) | (1U << 5);
inline constexpr std::uint8_t reset_value = 1; ///< what is written to reset_port to reboot

} // namespace aerate::layout

namespace aerate {

struct VirtioMmioDevice {
    GuestAddress base;
    std::uint32_t gsi = 0;
};
/// REQUIRES: index < layout::max_virtio_devices.
[[nodiscard]] VirtioMmioDevice virtio_mmio_device(unsigned index);

inline constexpr ByteCount ram_granule{2ULL << 20};
inline constexpr ByteCount min_ram{16ULL << 20};
inline constexpr ByteCount max_ram{4ULL << 40};

/// Returns RAM of `size` as regions around the hole. Fails when it is too small, too large or not a multiple of 2 MiB.
[[nodiscard]] Result<std::vector<MemoryRegion>> ram_regions(ByteCount size);

/// The same numbers in the BIOS's e820 map, in boot_params and in PVH's memory map.
enum class MemoryType : std::uint32_t { ram = 1, reserved = 2 };
struct MemoryMapEntry {
    GuestAddress start;
    ByteCount length;
    MemoryType type = MemoryType::ram;
};
/// Returns what the kernel is told about this RAM: ascending, not overlapping. REQUIRES: the regions come from
/// ram_regions().
[[nodiscard]] std::vector<MemoryMapEntry> memory_map(std::span<const MappedRegion>);

} // namespace aerate
