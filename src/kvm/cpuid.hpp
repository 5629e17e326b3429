// What a guest's CPUID instruction says: what the host supports, with the topology of this machine.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <vector>

namespace aerate {

struct CpuTopology {
    unsigned index = 0;            ///< this vCPU's, which is also its APIC ID
    unsigned count = 1;            ///< one socket of so many threads
    unsigned threads_per_core = 1; ///< a power of two
};

/// `supported` is KVM_GET_SUPPORTED_CPUID's answer, whose APIC IDs are those of the host CPU that happened to ask.
[[nodiscard]] std::vector<kvm_cpuid_entry2> guest_cpuid(std::span<const kvm_cpuid_entry2> supported, const CpuTopology&,
                                                        bool tsc_deadline_timer);

} // namespace aerate
