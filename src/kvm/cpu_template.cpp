#include "kvm/cpu_template.hpp"

#include "base/printable.hpp"
#include "kvm/ioctl.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace aerate {
namespace {

template <typename T>
Result<T> number_of(std::string_view digits, int base, std::string_view whole, std::string_view what) {
    T number{};
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
    if (error != std::errc() || end != digits.data() + digits.size())
        return fail("must be {}, and is {}", what, printable(whole));
    return number;
}

std::uint32_t& part_of(kvm_cpuid_entry2& entry, CpuidRegister part) {
    switch (part) {
    case CpuidRegister::eax:
        return entry.eax;
    case CpuidRegister::ebx:
        return entry.ebx;
    case CpuidRegister::ecx:
        return entry.ecx;
    case CpuidRegister::edx:
        break;
    }
    return entry.edx;
}

auto find(auto& entries, const CpuTemplate::Cpuid& change) {
    return std::ranges::find_if(entries, [&](const kvm_cpuid_entry2& entry) {
        return entry.function == change.leaf && entry.index == change.subleaf;
    });
}

using MsrTable = CountedEntries<kvm_msr_entry>;

Result<std::uint64_t> read_msr(int vcpu, std::uint32_t number) {
    MsrTable table(1);
    table.entries()[0].index = number;
    if (TRY(call_kvm(vcpu, MsrTable::request(KVM_GET_MSRS), "KVM_GET_MSRS", table.argument())) != 1)
        return fail("cpu-config: a guest here does not have the MSR {:#x}", number);
    return table.entries()[0].data;
}

Result<> set_msr(int vcpu, const CpuTemplate::Msr& change) {
    const std::uint64_t wanted = change.bits.apply(TRY(read_msr(vcpu, change.number)));
    MsrTable table(1);
    table.entries()[0].index = change.number;
    table.entries()[0].data = wanted;
    const int set = TRY(call_kvm(vcpu, MsrTable::request(KVM_SET_MSRS), "KVM_SET_MSRS", table.argument()));
    if (set != 1 || TRY(read_msr(vcpu, change.number)) != wanted)
        return fail("cpu-config: this host's KVM does not let the MSR {:#x} be {:#x}", change.number, wanted);
    return {};
}

} // namespace

template <std::unsigned_integral T>
Result<RegisterBits<T>> RegisterBits<T>::parse(std::string_view text) {
    const std::string_view digits = text.starts_with("0b") ? text.substr(2) : text;
    RegisterBits bits;
    int at = 0;
    for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit) {
        if (*digit == '_')
            continue;
        if ((*digit != '0' && *digit != '1' && *digit != 'x') || at == std::numeric_limits<T>::digits)
            return fail("must be \"0b\" and at most {} of 0, 1 and x, and is {}", std::numeric_limits<T>::digits,
                        printable(text));
        const T bit = static_cast<T>(T{1} << at++);
        bits.changed |= *digit == 'x' ? T{0} : bit;
        bits.value |= *digit == '1' ? bit : T{0};
    }
    return bits;
}

template <std::unsigned_integral T>
std::string RegisterBits<T>::text() const {
    std::string text = "0b";
    for (int at = std::numeric_limits<T>::digits - 1; at >= 0; --at) {
        const T bit = static_cast<T>(T{1} << at);
        text += (changed & bit) == 0 ? 'x' : (value & bit) == 0 ? '0' : '1';
    }
    return text;
}

template struct RegisterBits<std::uint32_t>;
template struct RegisterBits<std::uint64_t>;

Result<RegisterNumber> RegisterNumber::parse(std::string_view text) {
    const int base = text.starts_with("0x") ? 16 : text.starts_with("0b") ? 2 : 0;
    if (base == 0)
        return fail("must be a number that begins with 0x or 0b, and is {}", printable(text));
    return RegisterNumber{TRY(number_of<std::uint32_t>(text.substr(2), base, text, "a number of at most 32 bits"))};
}

std::string RegisterNumber::text() const {
    return fmt::format("{:#x}", value);
}

Result<CapabilityRule> CapabilityRule::parse(std::string_view text) {
    const bool needed = !text.starts_with('!');
    constexpr std::string_view what = R"(the number of a KVM capability, as "56" or "!56")";
    const auto number = TRY(number_of<std::uint16_t>(needed ? text : text.substr(1), 10, text, what));
    return CapabilityRule{.number = number, .needed = needed};
}

std::string CapabilityRule::text() const {
    return fmt::format("{}{}", needed ? "" : "!", number);
}

Result<> check_capabilities(const Kvm& kvm, const CpuTemplate& wanted) {
    for (const CapabilityRule& rule : wanted.capabilities) {
        if (rule.needed && kvm.capability(rule.number) <= 0)
            return fail("cpu-config.kvm_capabilities: this host's KVM lacks the capability {}", rule.number);
        if (!rule.needed && Kvm::requires_capability(rule.number))
            return fail("cpu-config.kvm_capabilities: the monitor cannot do without the capability {}", rule.number);
    }
    return {};
}

Result<std::vector<kvm_cpuid_entry2>> with_template(std::span<const kvm_cpuid_entry2> supported,
                                                    const CpuTemplate& wanted) {
    std::vector entries(supported.begin(), supported.end());
    for (const CpuTemplate::Cpuid& change : wanted.cpuid) {
        const auto entry = find(entries, change);
        if (entry == entries.end())
            return fail("cpu-config.cpuid_modifiers: a guest here does not have the CPUID leaf {:#x}, subleaf {:#x}",
                        change.leaf, change.subleaf);
        entry->flags = change.flags;
        std::uint32_t& part = part_of(*entry, change.part);
        part = change.bits.apply(part);
    }
    return entries;
}

Result<> check_template_holds(std::span<const kvm_cpuid_entry2> guest, const CpuTemplate& wanted) {
    for (const CpuTemplate::Cpuid& change : wanted.cpuid) {
        const auto entry = find(guest, change);
        if (entry == guest.end())
            return fail("cpu-config.cpuid_modifiers: the topology of the VM leaves no room for the CPUID leaf {:#x}, "
                        "subleaf {:#x}",
                        change.leaf, change.subleaf);
        kvm_cpuid_entry2 now = *entry;
        const std::uint32_t part = part_of(now, change.part);
        if (!change.bits.holds(part))
            return fail("cpu-config.cpuid_modifiers: of the CPUID leaf {:#x}, subleaf {:#x}, the topology of the VM "
                        "decides the bits {:#x}: make them x",
                        change.leaf, change.subleaf, (part ^ change.bits.value) & change.bits.changed);
    }
    return {};
}

Result<> set_template_msrs(int vcpu_fd, const SavableState& savable, const CpuTemplate& wanted) {
    for (const CpuTemplate::Msr& change : wanted.msrs) {
        if (std::ranges::find(savable.msrs, change.number) == savable.msrs.end())
            return fail("cpu-config.msr_modifiers: this host's KVM does not list the MSR {:#x}, and would not save it",
                        change.number);
        TRY(set_msr(vcpu_fd, change));
    }
    return {};
}

} // namespace aerate
