// Can this host run guests? /dev/kvm may exist and accept every ioctl on a machine that has no virtualisation hardware
// to offer, for example KVM on PVM: it emulates instruction by instruction, slowly and not all of them. So the probe
// runs code.
#pragma once

#include "base/error.hpp"
#include "kvm/kvm.hpp"

#include <chrono>

namespace aerate {

/// Goes through a stock kernel's entry and a few million instructions in a scratch machine, some of which only hardware
/// executes. Takes milliseconds; gives up after `limit`. The error says what was found and what to do.
[[nodiscard]] Result<void> probe_hardware(const Kvm&, std::chrono::milliseconds limit = std::chrono::seconds(2));

} // namespace aerate
