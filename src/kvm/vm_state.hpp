// What belongs to the VM as a whole, beside memory and vCPUs: interrupt controllers and guest time.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstdint>

namespace aerate {

struct VmState {
    std::array<kvm_irqchip, 3> interrupt_controllers{}; ///< PIC, second PIC, IOAPIC
    std::uint64_t clock = 0;                            ///< kvmclock, nanoseconds
    std::uint64_t realtime = 0; ///< the host's at the same moment, nanoseconds since 1970; 0: an older monitor saved it
};

/// What the guest's clock does when the guest is restored.
enum class ClockAfterRestore : std::uint8_t {
    goes_on,   ///< from where it was: it does not show how long the VM was stopped
    catches_up ///< kvmclock and the TSC are set forward by that time
};

/// The host's TSC and its time of day at one moment.
struct HostTime {
    std::uint64_t tsc = 0;
    std::uint64_t realtime = 0; ///< nanoseconds since 1970
};

} // namespace aerate
