// ACPI tables: how a stock kernel finds its processors, its virtio devices, its console and its power switch.
//
// Hardware-reduced ACPI (ACPI 6.4, 4.1): there are no PM1 registers, no PM timer, no SCI. Power-off is a write to the
// sleep control register, reset a write to the reset register, and the power button is a Generic Event Device. Stock
// distribution kernels support it without configuration, and skip the PIC and the PIT because of it.
#pragma once

#include "base/error.hpp"
#include "boot/memory_layout.hpp"
#include "memory/guest_memory.hpp"

#include <cstdint>
#include <vector>

namespace aerate {

struct AcpiConfig {
    unsigned vcpus = 1;
    std::vector<VirtioMmioDevice> virtio;
    bool serial = true;
};

/// REQUIRES: at most 255 vCPUs and layout::max_virtio_devices devices. Returns the tables as they stand in memory from
/// layout::acpi_tables on, the RSDP first.
[[nodiscard]] std::vector<std::byte> build_acpi_tables(const AcpiConfig&);
/// Builds them and puts them there, and the code for kernels that reboot by the BIOS's reset vector. An error when
/// there are more devices than interrupt lines.
[[nodiscard]] Result<void> write_acpi_tables(GuestMemory&, const AcpiConfig&);

} // namespace aerate
