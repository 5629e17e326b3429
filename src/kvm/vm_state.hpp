// What belongs to the VM as a whole, beside memory and vCPUs: interrupt controllers and guest time.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstdint>

namespace aerate {

struct VmState {
    std::array<kvm_irqchip, 3> interrupt_controllers{}; ///< PIC, second PIC, IOAPIC
    std::uint64_t clock = 0;                            ///< kvmclock, nanoseconds
};

} // namespace aerate
