// All of a vCPU that a saved VM needs to go on: what KVM_GET_* gives and KVM_SET_* takes.
//
//     VcpuState state = TRY(vcpu.save(TRY(SavableState::of(kvm))));
//     TRY(other.restore(state));
//
// The structures are KVM's own and stable (Documentation/virt/kvm/api.rst). A saved state may come from a damaged or
// hostile file: KVM checks what it is given, and what it refuses is an error here.
#pragma once

#include "base/error.hpp"
#include "kvm/kvm.hpp"

#include <linux/kvm.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace aerate {

struct VcpuState {
    std::vector<kvm_cpuid_entry2> cpuid; ///< as the guest has seen it since boot
    kvm_mp_state mp_state{};
    kvm_regs registers{};
    kvm_sregs special_registers{};
    std::vector<std::byte> xsave;
    kvm_xcrs extended_control{};
    kvm_debugregs debug{};
    kvm_lapic_state local_apic{};
    std::vector<kvm_msr_entry> msrs;
    kvm_vcpu_events events{};
    std::uint32_t tsc_khz = 0; ///< 0: the host did not say
};

/// What this host's KVM lets be saved.
struct SavableState {
    std::vector<std::uint32_t> msrs;
    bool xsave2 = false; ///< KVM_GET_XSAVE2, needed for what is larger than 4 KiB

    [[nodiscard]] static Result<SavableState> of(const Kvm&);
};

/// Reads all but the CPUID: some KVMs answer KVM_GET_CPUID2 with more than the guest was given.
[[nodiscard]] Result<VcpuState> get_vcpu_state(int fd, const SavableState&);
/// Sets the TSC forward by so much time.
[[nodiscard]] Result<> set_vcpu_state(int fd, const VcpuState&, std::chrono::nanoseconds forward = {});
/// Returns at what rate the TSC runs, if KVM knows.
[[nodiscard]] std::optional<std::uint32_t> tsc_khz(int fd);

/// Says which features the guest uses and this host cannot show, if any.
[[nodiscard]] Result<> check_cpu_features(std::span<const kvm_cpuid_entry2> guest,
                                          std::span<const kvm_cpuid_entry2> supported);

} // namespace aerate
