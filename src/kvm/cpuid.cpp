#include "kvm/cpuid.hpp"

#include <algorithm>
#include <bit>

namespace aerate {
namespace {

// Bits of leaf 1.
constexpr std::uint32_t ecx_tsc_deadline = 1U << 24;
constexpr std::uint32_t ecx_hypervisor = 1U << 31;
constexpr std::uint32_t edx_htt = 1U << 28;
// Bits of leaf 0x80000001.
constexpr std::uint32_t ecx_cmp_legacy = 1U << 1;

constexpr std::uint32_t replace(std::uint32_t value, unsigned low, unsigned width, std::uint32_t field) {
    const std::uint32_t mask = ((1U << width) - 1) << low;
    return (value & ~mask) | ((field << low) & mask);
}

/// Returns how many low bits of an APIC ID number the cores of the socket.
unsigned thread_bits(const CpuTopology& topology) {
    return static_cast<unsigned>(std::bit_width(topology.threads_per_core - 1));
}

unsigned socket_bits(const CpuTopology& topology) {
    return static_cast<unsigned>(std::bit_width(topology.count - 1));
}

/// Shares caches. Leaf 4 (Intel) and 0x8000001d (AMD) agree on this field. The last-level cache is shared by the
/// socket, the others by the threads of a core.
void share_cache(kvm_cpuid_entry2& entry, const CpuTopology& topology) {
    constexpr std::uint32_t last_level = 3;
    const std::uint32_t type = entry.eax & 0x1f;
    const std::uint32_t level = (entry.eax >> 5) & 7;
    if (type == 0)
        return;
    const std::uint32_t sharers = 1U << (level >= last_level ? socket_bits(topology) : thread_bits(topology));
    entry.eax = replace(entry.eax, 14, 12, sharers - 1);
}

/// Leaves 0xb and 0x1f: the thread level, the core level, and the end of the list.
void append_extended_topology(std::vector<kvm_cpuid_entry2>& entries, std::uint32_t leaf, const CpuTopology& topology) {
    constexpr std::uint32_t smt_level = 1U << 8;
    constexpr std::uint32_t core_level = 2U << 8;
    const auto append = [&](std::uint32_t index, std::uint32_t shift, std::uint32_t count, std::uint32_t type) {
        kvm_cpuid_entry2 entry{};
        entry.function = leaf;
        entry.index = index;
        entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        entry.eax = shift;
        entry.ebx = count;
        entry.ecx = type | index;
        entry.edx = topology.index;
        entries.push_back(entry);
    };
    append(0, thread_bits(topology), topology.threads_per_core, smt_level);
    append(1, socket_bits(topology), topology.count, core_level);
    append(2, 0, 0, 0);
}

} // namespace

std::vector<kvm_cpuid_entry2> guest_cpuid(std::span<const kvm_cpuid_entry2> supported, const CpuTopology& topology,
                                          bool tsc_deadline_timer) {
    std::vector<kvm_cpuid_entry2> entries;
    entries.reserve(supported.size() + 8);
    bool has_1f = false;
    std::uint32_t highest_leaf = 0;
    for (auto entry : supported) {
        switch (entry.function) {
        case 0x0:
            entry.eax = std::max(entry.eax, 0xbU);
            highest_leaf = entry.eax;
            break;
        case 0x1:
            entry.ebx = replace(entry.ebx, 24, 8, topology.index);
            entry.ebx = replace(entry.ebx, 16, 8, topology.count > 1 ? 1U << socket_bits(topology) : 1U);
            entry.ecx |= ecx_hypervisor;
            if (tsc_deadline_timer)
                entry.ecx |= ecx_tsc_deadline;
            entry.edx = topology.count > 1 ? entry.edx | edx_htt : entry.edx & ~edx_htt;
            break;
        case 0x4:
            share_cache(entry, topology);
            entry.eax = replace(entry.eax, 26, 6, (1U << (socket_bits(topology) - thread_bits(topology))) - 1);
            break;
        case 0xb:
            continue;
        case 0x1f:
            has_1f = true;
            continue;
        case 0x80000001:
            if (topology.count > 1 && (entry.edx & (1U << 29)) != 0)
                entry.ecx |= ecx_cmp_legacy;
            else
                entry.ecx &= ~ecx_cmp_legacy;
            break;
        case 0x80000008:
            entry.ecx = replace(entry.ecx, 0, 8, topology.count - 1);
            entry.ecx = replace(entry.ecx, 12, 4, socket_bits(topology));
            break;
        case 0x8000001d:
            share_cache(entry, topology);
            break;
        case 0x8000001e:
            entry.eax = topology.index;
            entry.ebx = replace(0, 0, 8, topology.index / topology.threads_per_core); // the core
            entry.ebx = replace(entry.ebx, 8, 8, topology.threads_per_core - 1);
            entry.ecx = 0; // one node
            break;
        default:
            break;
        }
        entries.push_back(entry);
    }
    append_extended_topology(entries, 0xb, topology);
    if (has_1f && highest_leaf >= 0x1f)
        append_extended_topology(entries, 0x1f, topology);
    return entries;
}

} // namespace aerate
