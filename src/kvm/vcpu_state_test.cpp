#include "kvm/testing/tiny_guest.hpp"
#include "kvm/vcpu_state.hpp"

#include <algorithm>
#include <chrono>

namespace aerate {
namespace {

using testing::TinyGuest;
using Program = std::vector<std::uint8_t>;

struct KvmState : testing::WithKvm {
    static std::uint8_t next_byte_out(Vcpu& vcpu) {
        const auto exit = vcpu.run();
        const auto* write = exit ? std::get_if<PortWrite>(&*exit) : nullptr;
        EXPECT_NE(write, nullptr);
        return write != nullptr ? std::to_integer<std::uint8_t>(write->data[0]) : 0;
    }
    static void complete_exit(Vcpu& vcpu) {
        vcpu.interrupt_next_run();
        const auto exit = vcpu.run();
        ASSERT_TRUE(exit);
        EXPECT_TRUE(std::holds_alternative<Interrupted>(*exit));
    }
};

// inc bl; mov al, bl; out 0x42, al; and again
const Program counting{0xfe, 0xc3, 0x88, 0xd8, 0xe6, 0x42, 0xeb, 0xf8};

TEST_F(KvmState, ASavedGuestGoesOnInAnotherMachine) {
    auto first = TinyGuest::create(counting);
    auto second = TinyGuest::create(counting);
    ASSERT_TRUE(first && second);
    const auto savable = SavableState::of(first->kvm);
    ASSERT_TRUE(savable) << savable.error().message;
    const std::uint8_t at = next_byte_out(first->vcpu());
    EXPECT_EQ(next_byte_out(first->vcpu()), at + 1);
    complete_exit(first->vcpu());

    const auto vcpu = first->vcpu().save(*savable);
    ASSERT_TRUE(vcpu) << vcpu.error().message;
    const auto vm = first->vm.save();
    ASSERT_TRUE(vm) << vm.error().message;
    const auto vm_restored = second->vm.restore(*vm);
    ASSERT_TRUE(vm_restored) << vm_restored.error().message;
    const auto restored = second->vcpu().restore(*vcpu);
    ASSERT_TRUE(restored) << restored.error().message;
    EXPECT_EQ(next_byte_out(second->vcpu()), at + 2);
    EXPECT_EQ(next_byte_out(second->vcpu()), at + 3);
    // The source was only looked at.
    EXPECT_EQ(next_byte_out(first->vcpu()), at + 2);
}

TEST_F(KvmState, TimeGoesOnWhereItWasSaved) {
    auto guest = TinyGuest::create(Program{0xf4});
    ASSERT_TRUE(guest);
    auto state = guest->vm.save();
    ASSERT_TRUE(state) << state.error().message;
    state->clock = 3'600'000'000'000;
    ASSERT_TRUE(guest->vm.restore(*state));
    const auto later = guest->vm.save();
    ASSERT_TRUE(later);
    EXPECT_GE(later->clock, state->clock);
    EXPECT_LT(later->clock, state->clock + 60'000'000'000);
}

TEST_F(KvmState, C9_TimeCatchesUpWhenAskedAndNeverGoesBack) {
    constexpr std::uint64_t hour = 3'600'000'000'000;
    auto guest = TinyGuest::create(Program{0xf4});
    ASSERT_TRUE(guest);
    auto state = guest->vm.save();
    ASSERT_TRUE(state) << state.error().message;
    EXPECT_NE(state->realtime, 0U) << "whatever KVM knows of the time of day";
    state->realtime -= hour;
    const auto forward = guest->vm.restore(*state, ClockAfterRestore::catches_up);
    ASSERT_TRUE(forward) << forward.error().message;
    EXPECT_GE(forward->count(), hour);
    EXPECT_LT(forward->count(), hour + 60'000'000'000);
    EXPECT_GE(guest->vm.save()->clock, state->clock + hour);

    state->realtime += 2 * hour; // from a host whose clock is ahead
    const auto not_back = guest->vm.restore(*state, ClockAfterRestore::catches_up);
    ASSERT_TRUE(not_back);
    EXPECT_GE(not_back->count(), 0);
    EXPECT_LT(not_back->count(), 60'000'000'000);
    EXPECT_EQ(guest->vm.restore(*state).value().count(), 0) << "not asked";
    state->realtime = 0; // an older monitor saved it
    EXPECT_FALSE(guest->vm.restore(*state, ClockAfterRestore::catches_up));
}

TEST_F(KvmState, C9_TheTscIsSetForwardByThatTimeToo) {
    auto guest = TinyGuest::create(Program{0xf4});
    ASSERT_TRUE(guest);
    const auto savable = SavableState::of(guest->kvm);
    ASSERT_TRUE(savable);
    auto state = guest->vcpu().save(*savable);
    ASSERT_TRUE(state) << state.error().message;
    const auto tsc_of = [](VcpuState& saved) -> __u64& {
        return std::ranges::find(saved.msrs, 0x10U, &kvm_msr_entry::index)->data;
    };
    const std::uint64_t second = std::uint64_t{state->tsc_khz} * 1000;
    tsc_of(*state) = 1'000'000 * second;
    ASSERT_TRUE(guest->vcpu().restore(*state));
    auto now = guest->vcpu().save(*savable);
    ASSERT_TRUE(now);
    if (tsc_of(*now) - tsc_of(*state) > 60 * second)
        GTEST_SKIP() << "NOT TESTED: this host's KVM gives its guests no TSC of their own";
    ASSERT_TRUE(guest->vcpu().restore(*state, std::chrono::hours(1)));
    now = guest->vcpu().save(*savable);
    ASSERT_TRUE(now);
    EXPECT_GE(tsc_of(*now) - tsc_of(*state), 3600 * second);
    EXPECT_LT(tsc_of(*now) - tsc_of(*state), 3660 * second);
}

TEST_F(KvmState, TheGuestsTscIsTheHostsAndAnOffset) {
    auto guest = TinyGuest::create(Program{0xf4});
    ASSERT_TRUE(guest);
    ASSERT_TRUE(guest->vm.start_clock());
    const auto offset = guest->vcpu().tsc_offset();
    const auto before = guest->vm.host_time();
    if (!offset || !before)
        GTEST_SKIP() << "NOT TESTED: this host's KVM does not tell the time by its TSC";
    const auto savable = SavableState::of(guest->kvm);
    ASSERT_TRUE(savable);
    const auto state = guest->vcpu().save(*savable);
    ASSERT_TRUE(state);
    const auto after = guest->vm.host_time();
    ASSERT_TRUE(after);
    EXPECT_EQ(offset->khz, state->tsc_khz);
    const std::uint64_t tsc = std::ranges::find(state->msrs, 0x10U, &kvm_msr_entry::index)->data;
    EXPECT_LE(before->tsc + offset->ticks, tsc);
    EXPECT_LE(tsc, after->tsc + offset->ticks);
    EXPECT_LE(before->realtime, after->realtime);
}

TEST_F(KvmState, WhatKvmRefusesIsAnError) {
    auto guest = TinyGuest::create(Program{0xf4});
    ASSERT_TRUE(guest);
    const auto savable = SavableState::of(guest->kvm);
    ASSERT_TRUE(savable);
    const auto good = guest->vcpu().save(*savable);
    ASSERT_TRUE(good);

    auto no_vectors = *good;
    no_vectors.xsave.resize(16);
    EXPECT_FALSE(guest->vcpu().restore(no_vectors));
    auto paging_without_protection = *good;
    paging_without_protection.special_registers.cr0 = 1U << 31;
    EXPECT_FALSE(guest->vcpu().restore(paging_without_protection));
    auto unknown_msr = *good;
    unknown_msr.msrs.push_back({.index = 0x12345678, .reserved = 0, .data = 1});
    const auto refused = guest->vcpu().restore(unknown_msr);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("MSR 0x12345678"), std::string::npos);
    EXPECT_TRUE(guest->vcpu().restore(*good)) << "a refusal spoils nothing";
}

TEST(CpuFeatures, AMissingOneIsNamed) {
    kvm_cpuid_entry2 leaf7{};
    leaf7.function = 7;
    leaf7.ebx = 1U << 5; // AVX2
    EXPECT_TRUE(check_cpu_features({{leaf7}}, {{leaf7}}));
    kvm_cpuid_entry2 older = leaf7;
    older.ebx = 0;
    EXPECT_TRUE(check_cpu_features({{older}}, {{leaf7}})) << "a host may have more";
    const auto refused = check_cpu_features({{leaf7}}, {{older}});
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("7.ebx=0x20"), std::string::npos);
}

} // namespace
} // namespace aerate
