// KVM's log of what the vCPUs write, in the way that the VM was made for.
#pragma once

#include "kvm/vm.hpp"
#include "memory/dirty_source.hpp"

#include <memory>

namespace aerate {

/// REQUIRES: `vm` and `memory`, which its slots map, outlive the log and stay where they are; the VM has all of its
/// slots and vCPUs when the log is started.
[[nodiscard]] std::unique_ptr<DirtyLog> make_dirty_log(Vm& vm, const GuestMemory& memory);

} // namespace aerate
