#include "kvm/vcpu_state.hpp"

#include "kvm/ioctl.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>

namespace aerate {
namespace {

using MsrTable = CountedEntries<kvm_msr_entry>;

constexpr std::uint32_t msr_tsc = 0x10;
constexpr std::uint32_t msr_tsc_deadline = 0x6e0;
// kvm_xsave ends with an array of no length, which some kernel headers give a size in C++: see CountedEntries.
constexpr std::size_t xsave_size = 4096;
constexpr unsigned long get_xsave_request = _IOC(_IOC_READ, KVMIO, _IOC_NR(KVM_GET_XSAVE), xsave_size);
constexpr unsigned long get_xsave2_request = _IOC(_IOC_READ, KVMIO, _IOC_NR(KVM_GET_XSAVE2), xsave_size);
constexpr unsigned long set_xsave_request = _IOC(_IOC_WRITE, KVMIO, _IOC_NR(KVM_SET_XSAVE), xsave_size);
constexpr std::size_t xsave_size_max = 64U << 10; // all that is defined, AMX included, is below 12 KiB

/// Modulo 2^64, as the register counts.
std::uint64_t ticks_in(std::chrono::nanoseconds time, std::uint32_t khz) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>(Wide{static_cast<std::uint64_t>(time.count())} * khz / 1'000'000);
}

/// Sets MSRs and returns how many KVM took: it stops at the first one that it does not accept.
Result<std::size_t> set_msrs(int fd, std::span<const kvm_msr_entry> msrs) {
    MsrTable table(static_cast<std::uint32_t>(msrs.size()));
    std::ranges::copy(msrs, table.entries().begin());
    return static_cast<std::size_t>(
        TRY(call_kvm(fd, MsrTable::request(KVM_SET_MSRS), "KVM_SET_MSRS", table.argument())));
}

std::optional<std::uint64_t> current_value(int fd, std::uint32_t index) {
    MsrTable table(1);
    table.entries()[0].index = index;
    const auto got = call_kvm(fd, MsrTable::request(KVM_GET_MSRS), "KVM_GET_MSRS", table.argument());
    return got && *got == 1 ? std::optional(table.entries()[0].data) : std::nullopt;
}

/// Reads the MSRs that KVM lists. It can mostly also read them; a few depend on the guest's CPUID. Those that it cannot
/// read are left out.
Result<std::vector<kvm_msr_entry>> get_msrs(int fd, std::span<const std::uint32_t> indices) {
    std::vector<kvm_msr_entry> msrs;
    while (!indices.empty()) {
        MsrTable table(static_cast<std::uint32_t>(indices.size()));
        for (std::size_t i = 0; i < indices.size(); ++i)
            table.entries()[i].index = indices[i];
        const auto read = static_cast<std::size_t>(
            TRY(call_kvm(fd, MsrTable::request(KVM_GET_MSRS), "KVM_GET_MSRS", table.argument())));
        const auto entries = table.entries().first(std::min(read, indices.size()));
        msrs.insert(msrs.end(), entries.begin(), entries.end());
        indices = indices.subspan(std::min(read + 1, indices.size()));
    }
    return msrs;
}

/// Reads the registers, whose size only the kernel knows: what it leaves zero at the end is cut off.
Result<std::vector<std::byte>> get_xsave(int fd, const SavableState& savable) {
    std::vector<std::byte> area(xsave_size_max);
    if (savable.xsave2)
        TRY(call_kvm(fd, get_xsave2_request, "KVM_GET_XSAVE2", area.data()));
    else
        TRY(call_kvm(fd, get_xsave_request, "KVM_GET_XSAVE", area.data()));
    const auto last = std::find_if(area.rbegin(), area.rend(), [](std::byte byte) { return byte != std::byte{0}; });
    area.resize(std::max(static_cast<std::size_t>(area.rend() - last), xsave_size));
    return area;
}

/// Restores MSRs. One that KVM refuses does not matter if it has that value anyway: some are listed and read-only.
Result<> restore_msrs(int fd, std::span<const kvm_msr_entry> msrs) {
    while (!msrs.empty()) {
        const std::size_t taken = TRY(set_msrs(fd, msrs));
        msrs = msrs.subspan(std::min(taken, msrs.size()));
        if (msrs.empty())
            break;
        const kvm_msr_entry& refused = msrs.front();
        if (current_value(fd, refused.index) != refused.data)
            return fail(
                "this host's KVM does not accept the saved value {:#x} of MSR {:#x}: restore on a host with the "
                "same processor and a kernel that is not older",
                refused.data, refused.index);
        msrs = msrs.subspan(1);
    }
    return {};
}

/// The words of CPUID in which every bit is a feature (Intel SDM and AMD APM, CPUID).
struct FeatureWord {
    std::uint32_t leaf;
    std::uint32_t index;
    const char* name;
    std::uint32_t kvm_cpuid_entry2::* word;
    std::uint32_t ignored; ///< bits that say something of the machine, not of the processor
};
constexpr std::uint32_t leaf1_ecx_machine = 1U << 31 | 1U << 27 | 1U << 24; // hypervisor, OSXSAVE, TSC deadline
constexpr std::array feature_words{
    FeatureWord{1, 0, "1.ecx", &kvm_cpuid_entry2::ecx, leaf1_ecx_machine},
    FeatureWord{1, 0, "1.edx", &kvm_cpuid_entry2::edx, 1U << 28}, // HTT
    FeatureWord{7, 0, "7.ebx", &kvm_cpuid_entry2::ebx, 0},
    FeatureWord{7, 0, "7.ecx", &kvm_cpuid_entry2::ecx, 1U << 4}, // OSPKE
    FeatureWord{7, 0, "7.edx", &kvm_cpuid_entry2::edx, 0},
    FeatureWord{0xd, 0, "0xd.eax", &kvm_cpuid_entry2::eax, 0},
    FeatureWord{0x80000001, 0, "0x80000001.ecx", &kvm_cpuid_entry2::ecx, 1U << 1}, // CMP_LEGACY
    FeatureWord{0x80000001, 0, "0x80000001.edx", &kvm_cpuid_entry2::edx, 0},
};

std::uint32_t word_of(std::span<const kvm_cpuid_entry2> entries, const FeatureWord& feature) {
    const auto entry = std::ranges::find_if(entries, [&](const kvm_cpuid_entry2& candidate) {
        return candidate.function == feature.leaf && candidate.index == feature.index;
    });
    return entry == entries.end() ? 0 : (*entry).*feature.word & ~feature.ignored;
}

} // namespace

Result<SavableState> SavableState::of(const Kvm& kvm) {
    using List = CountedEntries<std::uint32_t, sizeof(std::uint32_t)>;
    List none(0);
    if (::ioctl(kvm.fd(), List::request(KVM_GET_MSR_INDEX_LIST), none.argument()) != 0 && errno != E2BIG)
        return fail_errno("KVM_GET_MSR_INDEX_LIST");
    std::uint32_t count;
    std::memcpy(&count, none.argument(), sizeof count);
    List list(count);
    TRY(call_kvm(kvm.fd(), List::request(KVM_GET_MSR_INDEX_LIST), "KVM_GET_MSR_INDEX_LIST", list.argument()));
    const auto indices = list.entries();
    SavableState savable;
    savable.msrs.assign(indices.begin(), indices.end());
    savable.xsave2 = kvm.capability(KVM_CAP_XSAVE2) > 0;
    return savable;
}

Result<VcpuState> get_vcpu_state(int fd, const SavableState& savable) {
    VcpuState state;
    // First: it makes KVM carry out what the local APIC has pending (api.rst, KVM_GET_MP_STATE;
    // kvm_apic_accept_events).
    TRY(call_kvm(fd, KVM_GET_MP_STATE, "KVM_GET_MP_STATE", &state.mp_state));
    TRY(call_kvm(fd, KVM_GET_REGS, "KVM_GET_REGS", &state.registers));
    TRY(call_kvm(fd, KVM_GET_SREGS, "KVM_GET_SREGS", &state.special_registers));
    state.xsave = TRY(get_xsave(fd, savable));
    TRY(call_kvm(fd, KVM_GET_XCRS, "KVM_GET_XCRS", &state.extended_control));
    TRY(call_kvm(fd, KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS", &state.debug));
    TRY(call_kvm(fd, KVM_GET_LAPIC, "KVM_GET_LAPIC", &state.local_apic));
    state.msrs = TRY(get_msrs(fd, savable.msrs));
    TRY(call_kvm(fd, KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS", &state.events));
    state.tsc_khz = tsc_khz(fd).value_or(0);
    return state;
}

std::optional<std::uint32_t> tsc_khz(int fd) {
    const auto khz = call_kvm(fd, KVM_GET_TSC_KHZ, "KVM_GET_TSC_KHZ");
    return khz && *khz > 0 ? std::optional(static_cast<std::uint32_t>(*khz)) : std::nullopt;
}

/// Sets the state in an order in which each step may use what the one before has set: the special registers say where
/// the local APIC is, that one in which mode the deadline timer's MSR is understood.
Result<> set_vcpu_state(int fd, const VcpuState& state, std::chrono::nanoseconds forward) {
    if (const auto khz = tsc_khz(fd); state.tsc_khz != 0 && khz && khz != state.tsc_khz)
        // Without scaling in hardware the guest's clock is right all the same as long as it uses kvmclock.
        (void)call_kvm(fd, KVM_SET_TSC_KHZ, "KVM_SET_TSC_KHZ", static_cast<unsigned long>(state.tsc_khz));
    TRY(call_kvm(fd, KVM_SET_MP_STATE, "KVM_SET_MP_STATE", &state.mp_state));
    TRY(call_kvm(fd, KVM_SET_REGS, "KVM_SET_REGS", &state.registers));
    TRY(call_kvm(fd, KVM_SET_SREGS, "KVM_SET_SREGS", &state.special_registers));
    if (state.xsave.size() < xsave_size || state.xsave.size() > xsave_size_max)
        return fail("the saved vector registers have an impossible size of {} bytes", state.xsave.size());
    // The kernel reads as much as it would write, which may be more than a smaller host has saved.
    std::vector<std::byte> xsave(state.xsave);
    xsave.resize(xsave_size_max);
    TRY(call_kvm(fd, set_xsave_request, "KVM_SET_XSAVE", xsave.data()));
    TRY(call_kvm(fd, KVM_SET_XCRS, "KVM_SET_XCRS", &state.extended_control));
    TRY(call_kvm(fd, KVM_SET_DEBUGREGS, "KVM_SET_DEBUGREGS", &state.debug));
    TRY(call_kvm(fd, KVM_SET_LAPIC, "KVM_SET_LAPIC", &state.local_apic));
    // The deadline is one of TSC ticks, so the TSC is set before it.
    std::vector<kvm_msr_entry> msrs;
    const auto take = [&](bool deadline) {
        std::ranges::copy_if(state.msrs, std::back_inserter(msrs),
                             [=](const auto& msr) { return (msr.index == msr_tsc_deadline) == deadline; });
    };
    take(false);
    take(true);
    for (kvm_msr_entry& msr : msrs)
        if (msr.index == msr_tsc)
            msr.data += ticks_in(forward, state.tsc_khz);
    TRY(restore_msrs(fd, msrs));
    TRY(call_kvm(fd, KVM_SET_VCPU_EVENTS, "KVM_SET_VCPU_EVENTS", &state.events));
    return {};
}

Result<> check_cpu_features(std::span<const kvm_cpuid_entry2> guest, std::span<const kvm_cpuid_entry2> supported) {
    std::string missing;
    for (const FeatureWord& feature : feature_words)
        if (const std::uint32_t lacking = word_of(guest, feature) & ~word_of(supported, feature); lacking != 0)
            missing += fmt::format(" {}={:#x}", feature.name, lacking);
    if (!missing.empty())
        return fail("this host's processor lacks what the guest uses (CPUID bits{}): choose a host that has them",
                    missing);
    return {};
}

} // namespace aerate
