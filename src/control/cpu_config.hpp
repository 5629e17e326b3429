// Custom CPU templates in Firecracker's words: PUT /cpu-config, and "cpu-config" in what describes a VM.
#pragma once

#include "control/schema.hpp"
#include "kvm/cpu_template.hpp"

#include <cstdint>
#include <vector>

namespace aerate::control {

inline constexpr WordList<CpuidRegister, 4> cpuid_register_words{{{"eax", CpuidRegister::eax},
                                                                  {"ebx", CpuidRegister::ebx},
                                                                  {"ecx", CpuidRegister::ecx},
                                                                  {"edx", CpuidRegister::edx}}};

struct CpuidRegisterModifier {
    CpuidRegister part{};
    RegisterBits<std::uint32_t> bits{};
    static constexpr std::string_view object = "cpu-config.cpuid_modifiers.modifiers";
    static void describe(auto& fields, auto& self) {
        fields("register", Word{self.part, cpuid_register_words}, mandatory);
        fields("bitmap", self.bits, mandatory);
    }
    bool operator==(const CpuidRegisterModifier&) const = default;
};

struct CpuidLeafModifier {
    RegisterNumber leaf{};
    RegisterNumber subleaf{};
    std::uint32_t flags{};
    std::vector<CpuidRegisterModifier> modifiers{};
    static constexpr std::string_view object = "cpu-config.cpuid_modifiers";
    static void describe(auto& fields, auto& self) {
        fields("leaf", self.leaf, mandatory);
        fields("subleaf", self.subleaf, mandatory);
        fields("flags", self.flags, mandatory_between(0, 7)); // KVM_CPUID_FLAG_*
        fields("modifiers", self.modifiers, mandatory);
    }
    bool operator==(const CpuidLeafModifier&) const = default;
};

struct MsrModifier {
    RegisterNumber number{};
    RegisterBits<std::uint64_t> bits{};
    static constexpr std::string_view object = "cpu-config.msr_modifiers";
    static void describe(auto& fields, auto& self) {
        fields("addr", self.number, mandatory);
        fields("bitmap", self.bits, mandatory);
    }
    bool operator==(const MsrModifier&) const = default;
};

struct CpuConfig {
    std::vector<CapabilityRule> kvm_capabilities{};
    std::vector<CpuidLeafModifier> cpuid_modifiers{};
    std::vector<MsrModifier> msr_modifiers{};
    static constexpr std::string_view object = "cpu-config";
    static void describe(auto& fields, auto& self) {
        fields("kvm_capabilities", self.kvm_capabilities, unless_default);
        fields("cpuid_modifiers", self.cpuid_modifiers, unless_default);
        fields("msr_modifiers", self.msr_modifiers, unless_default);
    }
    [[nodiscard]] CpuTemplate as_template() const;
    bool operator==(const CpuConfig&) const = default;
};

} // namespace aerate::control
