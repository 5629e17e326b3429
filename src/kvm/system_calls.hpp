// What is asked of KVM, by whichever thread.
#pragma once

#include "confine/calls.hpp"
#include "confine/thread_kind.hpp"

#include <linux/kvm.h>

#include <array>

namespace aerate {

/// What a vCPU's own thread does.
inline constexpr auto run_calls = std::to_array<confine::Rule>({
    {SYS_ioctl, confine::request(KVM_RUN)},
    {SYS_ioctl, confine::request(KVM_KVMCLOCK_CTRL)},
    {SYS_ioctl, confine::request(KVM_GET_REGS)}, // where a guest was that cannot go on
    {SYS_ioctl, confine::request(KVM_GET_SREGS)},
});

/// What makes virtual machines, and saves and restores them.
inline constexpr auto machine_calls = std::to_array<confine::Rule>({{SYS_ioctl, confine::requests_of(KVMIO)}});

} // namespace aerate
