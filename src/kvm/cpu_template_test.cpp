#include "base/printable.hpp"
#include "kvm/cpu_template.hpp"
#include "kvm/testing/tiny_guest.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>

namespace aerate {
namespace {

using ::testing::HasSubstr;
using Bits = RegisterBits<std::uint32_t>;

constexpr std::array<std::uint8_t, 1> halt{0xf4};

TEST(CpuTemplate, BitsAreTakenFromTheirText) {
    const Bits bits = Bits::parse("0b1xx0").value();
    EXPECT_EQ(bits.apply(0), 8U);
    EXPECT_EQ(bits.apply(0xffff'ffff), 0xffff'fffe);
    EXPECT_TRUE(bits.holds(0xa));
    EXPECT_FALSE(bits.holds(0xb));
    EXPECT_EQ(bits.text(), "0b" + std::string(28, 'x') + "1xx0");
    EXPECT_EQ(Bits::parse(bits.text()).value(), bits);
    EXPECT_EQ(Bits::parse("0b1__xx_0").value(), bits);
    EXPECT_EQ(Bits::parse("1xx0").value(), bits) << "Firecracker takes it so too";
    EXPECT_EQ(Bits::parse("0b").value(), Bits{});
    EXPECT_EQ(Bits::parse("0b" + std::string(32, '1')).value().apply(0), 0xffff'ffff);
    EXPECT_EQ(RegisterBits<std::uint64_t>::parse("0b1" + std::string(63, '0')).value().value, 1ULL << 63);
}

TEST(CpuTemplate, C7_TextsThatAreNone) {
    for (const auto& wrong : {"0b2", "0b1 1", "b1", "-1", "0bX"})
        EXPECT_FALSE(Bits::parse(wrong)) << wrong;
    EXPECT_THAT(Bits::parse("0b" + std::string(33, 'x')).error().message, HasSubstr("at most 32"));
    EXPECT_FALSE(RegisterBits<std::uint64_t>::parse("0b" + std::string(65, '1')));
    EXPECT_EQ(RegisterNumber::parse("0x8000001e").value().value, 0x8000001e);
    EXPECT_EQ(RegisterNumber::parse("0b101").value().text(), "0x5");
    for (const auto& wrong : {"", "1", "0x", "0x1ffffffff", "0b2", "0xg", "0x-1", "0x1 "})
        EXPECT_FALSE(RegisterNumber::parse(wrong)) << wrong;
    EXPECT_EQ(CapabilityRule::parse("!56").value(), (CapabilityRule{.number = 56, .needed = false}));
    EXPECT_EQ(CapabilityRule::parse("56").value().text(), "56");
    for (const auto& wrong : {"", "!", "x", "-1", "99999999999", "0x1", "!!1"})
        EXPECT_FALSE(CapabilityRule::parse(wrong)) << wrong;
}

TEST(CpuTemplate, S9_WrongTextIsShownEscapedAndCutShort) {
    const std::string wrong = "\x1b[2J" + std::string(100'000, 'y');
    for (const std::string& message :
         {Bits::parse(wrong).error().message, RegisterNumber::parse(wrong).error().message,
          RegisterNumber::parse("0x" + wrong).error().message, CapabilityRule::parse(wrong).error().message}) {
        EXPECT_EQ(message.find('\x1b'), std::string::npos) << message;
        EXPECT_LT(message.size(), printable_max + 100);
    }
}

class Templated : public testing::WithKvm {
protected:
    /// Returns what becomes of a guest that gets it.
    static Result<> apply(const CpuTemplate& wanted, testing::TinyGuest& guest) {
        TRY(check_capabilities(guest.kvm, wanted));
        return guest.vm.apply(wanted, TRY(SavableState::of(guest.kvm)), guest.vcpu(), 1);
    }
    static std::string refusal(const CpuTemplate& wanted) {
        auto guest = testing::TinyGuest::create(halt).value();
        const auto applied = apply(wanted, guest);
        return applied ? "" : applied.error().message;
    }
    static kvm_cpuid_entry2 leaf(const VcpuState& state, std::uint32_t function) {
        return *std::ranges::find(state.cpuid, function, &kvm_cpuid_entry2::function);
    }
};

TEST_F(Templated, TheGuestSeesTheBits) {
    auto guest = testing::TinyGuest::create(halt).value();
    const auto savable = SavableState::of(guest.kvm).value();
    const VcpuState before = guest.vcpu().save(savable).value();
    const CpuTemplate wanted{
        .capabilities = {{.number = KVM_CAP_IRQCHIP, .needed = true}, {.number = KVM_CAP_XCRS, .needed = false}},
        .cpuid = {{.leaf = 1, .part = CpuidRegister::eax, .bits = {.changed = 0xf, .value = 0x5}},
                  {.leaf = 1, .part = CpuidRegister::edx, .bits = {.changed = 1U << 25, .value = 0}}},
        .msrs = {{.number = 0x277, .bits = {.changed = 0xff, .value = 0x04}}}}; // IA32_PAT
    ASSERT_TRUE(apply(wanted, guest));
    const VcpuState after = guest.vcpu().save(savable).value();
    EXPECT_EQ(leaf(after, 1).eax, (leaf(before, 1).eax & ~0xfU) | 5U);
    EXPECT_EQ(leaf(after, 1).edx, leaf(before, 1).edx & ~(1U << 25));
    EXPECT_EQ(leaf(after, 1).ebx, leaf(before, 1).ebx);
    const auto pat = [](const VcpuState& state) {
        return std::ranges::find(state.msrs, 0x277U, &kvm_msr_entry::index)->data;
    };
    EXPECT_EQ(pat(after), (pat(before) & ~0xffULL) | 4U) << "and a snapshot has it";
}

TEST_F(Templated, C7_WhatThisHostCannotDoIsRefusedByName) {
    EXPECT_THAT(refusal({.capabilities = {{.number = 60000, .needed = true}}, .cpuid = {}, .msrs = {}}),
                HasSubstr("lacks the capability 60000"));
    EXPECT_THAT(refusal({.capabilities = {{.number = KVM_CAP_IRQCHIP, .needed = false}}, .cpuid = {}, .msrs = {}}),
                HasSubstr("cannot do without"));
    EXPECT_THAT(refusal({.capabilities = {}, .cpuid = {{.leaf = 0x1234'5678}}, .msrs = {}}),
                HasSubstr("leaf 0x12345678, subleaf 0x0"));
    EXPECT_THAT(
        refusal(
            {.capabilities = {},
             .cpuid = {{.leaf = 1, .part = CpuidRegister::ebx, .bits = {.changed = 0xff00'0000, .value = 0x0700'0000}}},
             .msrs = {}}),
        HasSubstr("topology of the VM decides the bits 0x7000000"));
    EXPECT_THAT(refusal({.capabilities = {},
                         .cpuid = {{.leaf = 7, .part = CpuidRegister::ebx, .bits = {.changed = ~0U, .value = ~0U}}},
                         .msrs = {}}),
                HasSubstr("lacks what the guest uses"));
    EXPECT_THAT(refusal({.capabilities = {}, .cpuid = {}, .msrs = {{.number = 0x1234'5678, .bits = {}}}}),
                HasSubstr("does not list the MSR 0x12345678"));
}

} // namespace
} // namespace aerate
