#include "kvm/cpuid.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <optional>

namespace aerate {
namespace {

kvm_cpuid_entry2 entry(std::uint32_t function, std::uint32_t index = 0, std::uint32_t eax = 0, std::uint32_t ebx = 0,
                       std::uint32_t ecx = 0, std::uint32_t edx = 0) {
    kvm_cpuid_entry2 made{};
    made.function = function;
    made.index = index;
    made.eax = eax;
    made.ebx = ebx;
    made.ecx = ecx;
    made.edx = edx;
    return made;
}

std::optional<kvm_cpuid_entry2> find(const std::vector<kvm_cpuid_entry2>& entries, std::uint32_t function,
                                     std::uint32_t index = 0) {
    const auto found = std::ranges::find_if(
        entries, [=](const auto& candidate) { return candidate.function == function && candidate.index == index; });
    return found == entries.end() ? std::nullopt : std::optional(*found);
}

/// A host CPU with APIC ID 0x63, as KVM_GET_SUPPORTED_CPUID would tell of it.
const std::array host{
    entry(0, 0, 0x20),
    entry(1, 0, 0x306a9, 0x63200800, 0x1234, 0x0f8bfbff),
    entry(4, 0, 0xfc004121), // L1 data
    entry(4, 3, 0xfc1fc163), // L3
    entry(0xb, 0, 1, 2, 0x100, 0x63),
    entry(0x1f, 0, 1, 2, 0x100, 0x63),
    entry(0x80000001, 0, 0, 0, 0, 1U << 29),
    entry(0x80000008, 0, 0x3030, 0, 0x703f),
    entry(0x8000001d, 3, 0x3c163),
    entry(0x8000001e, 0, 0x63, 0x131, 2),
};

class Topology : public ::testing::TestWithParam<unsigned> {};

TEST_P(Topology, EachCpuHasItsOwnIdEverywhere) {
    const unsigned count = GetParam();
    for (unsigned index = 0; index < count; ++index) {
        const auto entries = guest_cpuid(host, {index, count}, true);
        EXPECT_EQ(find(entries, 1)->ebx >> 24, index);
        for (const auto leaf : {0xbU, 0x1fU})
            for (const auto level : {0U, 1U, 2U})
                EXPECT_EQ(find(entries, leaf, level)->edx, index);
        EXPECT_EQ(find(entries, 0x8000001e)->eax, index);
        EXPECT_EQ(find(entries, 0x8000001e)->ebx, index) << "one thread a core";
        EXPECT_EQ(find(entries, 0x8000001e)->ecx, 0U) << "one node";
    }
}

TEST_P(Topology, AllCpusAreCoresOfOneSocket) {
    const unsigned count = GetParam();
    const auto entries = guest_cpuid(host, {0, count}, true);
    const auto smt = *find(entries, 0xb, 0);
    const auto cores = *find(entries, 0xb, 1);
    EXPECT_EQ(smt.eax, 0U);
    EXPECT_EQ(smt.ebx, 1U);
    EXPECT_EQ(smt.ecx, 0x100U);
    EXPECT_EQ(cores.ebx, count);
    EXPECT_EQ(cores.ecx, 0x201U);
    EXPECT_GE(1U << cores.eax, count) << "no two cores fall into different sockets";
    EXPECT_EQ(find(entries, 0xb, 2)->ecx, 2U) << "the list ends";
    EXPECT_EQ(find(entries, 0x80000008)->ecx & 0xff, count - 1);
    EXPECT_GE(find(entries, 4, 3)->eax >> 26, count - 1);
    EXPECT_GE((find(entries, 4, 3)->eax >> 14) & 0xfff, count - 1) << "the last-level cache is shared";
    EXPECT_EQ((find(entries, 4, 0)->eax >> 14) & 0xfff, 0U) << "the first-level cache is not";
    EXPECT_EQ((find(entries, 1)->edx >> 28) & 1, count > 1 ? 1U : 0U);
}

TEST(GuestCpuid, SmtIsTwoThreadsACore) {
    for (unsigned index = 0; index < 6; ++index) {
        const auto entries = guest_cpuid(host, {.index = index, .count = 6, .threads_per_core = 2}, true);
        const auto threads = *find(entries, 0xb, 0);
        EXPECT_EQ(threads.eax, 1U) << "APIC ID >> 1 is the core";
        EXPECT_EQ(threads.ebx, 2U);
        EXPECT_EQ(find(entries, 0xb, 1)->ebx, 6U);
        EXPECT_EQ(find(entries, 0xb, 1)->eax, 3U);
        EXPECT_EQ((find(entries, 4, 0)->eax >> 14) & 0xfff, 1U) << "two threads share the first-level cache";
        EXPECT_EQ(find(entries, 4, 0)->eax >> 26, 3U) << "room for four cores";
        EXPECT_EQ(find(entries, 0x8000001e)->ebx, index / 2 | 1U << 8);
    }
}

INSTANTIATE_TEST_SUITE_P(Counts, Topology, ::testing::Values(1, 2, 3, 4, 7, 8, 31, 32));

TEST(GuestCpuid, SaysThatThereIsAHypervisorAndItsTimer) {
    EXPECT_EQ(find(guest_cpuid(host, {}, true), 1)->ecx, 0x1234U | 1U << 31 | 1U << 24);
    EXPECT_EQ(find(guest_cpuid(host, {}, false), 1)->ecx, 0x1234U | 1U << 31);
}

TEST(GuestCpuid, OneOfEachLeaf) {
    const auto entries = guest_cpuid(host, {1, 4}, true);
    for (const auto& one : entries)
        EXPECT_EQ(
            std::ranges::count_if(
                entries, [&](const auto& other) { return other.function == one.function && other.index == one.index; }),
            1)
            << std::hex << one.function << "." << one.index;
}

TEST(GuestCpuid, OldHostsGetTheTopologyLeafToo) {
    const std::array old{entry(0, 0, 4), entry(1)};
    const auto entries = guest_cpuid(old, {0, 2}, false);
    EXPECT_EQ(find(entries, 0)->eax, 0xbU);
    EXPECT_TRUE(find(entries, 0xb, 1));
    EXPECT_FALSE(find(entries, 0x1f));
}

} // namespace
} // namespace aerate
