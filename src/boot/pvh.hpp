// The boot data of the PVH ABI: struct hvm_start_info (xen/include/public/arch-x86/hvm/start_info.h).
#pragma once

#include "base/error.hpp"
#include "boot/initrd.hpp"
#include "boot/memory_layout.hpp"
#include "memory/guest_memory.hpp"

#include <optional>
#include <span>

namespace aerate {

/// Writes it at layout::start_info. The command line is at layout::command_line, the RSDP at layout::acpi_tables.
[[nodiscard]] Result<void> write_start_info(GuestMemory&, std::optional<LoadedInitrd>);

} // namespace aerate
