#include "control/cpu_config.hpp"

namespace aerate::control {

CpuTemplate CpuConfig::as_template() const {
    CpuTemplate made{.capabilities = kvm_capabilities, .cpuid = {}, .msrs = {}};
    for (const CpuidLeafModifier& leaf : cpuid_modifiers) {
        for (const CpuidRegisterModifier& modifier : leaf.modifiers)
            made.cpuid.push_back({.leaf = leaf.leaf.value,
                                  .subleaf = leaf.subleaf.value,
                                  .flags = leaf.flags,
                                  .part = modifier.part,
                                  .bits = modifier.bits});
    }
    for (const MsrModifier& modifier : msr_modifiers)
        made.msrs.push_back({.number = modifier.number.value, .bits = modifier.bits});
    return made;
}

} // namespace aerate::control
