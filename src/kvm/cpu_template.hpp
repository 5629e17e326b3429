// Changes that an operator makes to the processor which a guest sees: Firecracker's custom CPU templates. The words for
// them in JSON are in control/cpu_config.hpp.
//
//     what the host supports  ->  the template's CPUID bits  ->  this machine's topology  ->  the guest
//     what KVM set up         ->  the template's MSR bits                                 ->  the guest
//
// They are made once, before the first instruction: a saved guest brings the result with it.
#pragma once

#include "base/error.hpp"
#include "kvm/vcpu_state.hpp"

#include <linux/kvm.h>

#include <concepts>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace aerate {

/// Bits of a register that become 0 or 1; the others stay as they are.
template <std::unsigned_integral T>
struct RegisterBits {
    T changed{};
    T value{}; ///< only bits of `changed`

    [[nodiscard]] constexpr T apply(T before) const { return (before & static_cast<T>(~changed)) | value; }
    [[nodiscard]] constexpr bool holds(T now) const { return (now & changed) == value; }
    /// Reads "0b" and for each bit, the highest first, 0, 1 or x (as it is); "_" may separate them. Bits that are not
    /// written are x.
    [[nodiscard]] static Result<RegisterBits> parse(std::string_view);
    [[nodiscard]] std::string text() const;
    bool operator==(const RegisterBits&) const = default;
};

/// The number of a CPUID leaf or of an MSR.
struct RegisterNumber {
    std::uint32_t value{};

    /// Reads "0x..." or "0b...".
    [[nodiscard]] static Result<RegisterNumber> parse(std::string_view);
    [[nodiscard]] std::string text() const;
    bool operator==(const RegisterNumber&) const = default;
};

/// A capability that KVM must have ("56"), or need not have though the monitor would ask for it ("!56").
struct CapabilityRule {
    int number{};
    bool needed = true;

    [[nodiscard]] static Result<CapabilityRule> parse(std::string_view);
    [[nodiscard]] std::string text() const;
    bool operator==(const CapabilityRule&) const = default;
};

enum class CpuidRegister : std::uint8_t { eax, ebx, ecx, edx };

struct CpuTemplate {
    struct Cpuid {
        std::uint32_t leaf{};
        std::uint32_t subleaf{};
        std::uint32_t flags{}; ///< KVM_CPUID_FLAG_*, which the leaf gets
        CpuidRegister part{};
        RegisterBits<std::uint32_t> bits{};
    };
    struct Msr {
        std::uint32_t number{};
        RegisterBits<std::uint64_t> bits{};
    };
    std::vector<CapabilityRule> capabilities;
    std::vector<Cpuid> cpuid;
    std::vector<Msr> msrs;

    [[nodiscard]] bool empty() const { return capabilities.empty() && cpuid.empty() && msrs.empty(); }
};

/// Fails if the host's KVM lacks a capability that the template needs, or the monitor needs one that the template would
/// do without.
[[nodiscard]] Result<> check_capabilities(const Kvm&, const CpuTemplate&);
/// Returns the leaves with the template's bits. Fails if one is not there.
[[nodiscard]] Result<std::vector<kvm_cpuid_entry2>> with_template(std::span<const kvm_cpuid_entry2>,
                                                                  const CpuTemplate&);
/// Fails if a bit of the template is not what the guest will see: the machine's own topology decides it.
[[nodiscard]] Result<> check_template_holds(std::span<const kvm_cpuid_entry2> guest, const CpuTemplate&);
/// Sets the MSRs of a vCPU. Fails if it does not have one, KVM refuses a value, or would not save it.
[[nodiscard]] Result<> set_template_msrs(int vcpu_fd, const SavableState&, const CpuTemplate&);

} // namespace aerate
