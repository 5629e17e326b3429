// The ways in which KVM can tell which pages the vCPUs wrote. docs/measurements.md compares them.
#pragma once

#include "base/error.hpp"
#include "kvm/kvm.hpp"

#include <cstdint>
#include <string_view>

namespace aerate {

/// Whichever it is, a take returns with the whole log cleared and armed again (see DirtyLog). None is cleared lazily: a
/// write between reading the log and clearing it later would leave no trace.
enum class DirtyMethod : std::uint8_t {
    eager_bitmap,         ///< KVM_GET_DIRTY_LOG reads a slot's log, clears it and protects its pages in one call
    manual_bitmap,        ///< KVM_GET_DIRTY_LOG reads, KVM_CLEAR_DIRTY_LOG clears and protects, slice by slice
    manual_bitmap_sliced, ///< and starting protects slice by slice too (KVM_DIRTY_LOG_INITIALLY_SET)
    ring,                 ///< each vCPU has a list of what it wrote, of a fixed length
};

[[nodiscard]] std::string_view name_of(DirtyMethod);
/// Fails, saying what is missing, when this host's KVM does not offer the method. For the ring that runs code:
/// milliseconds on hardware.
[[nodiscard]] Result<void> check_offered(const Kvm&, DirtyMethod);

} // namespace aerate
