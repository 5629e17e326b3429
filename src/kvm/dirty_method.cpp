#include "kvm/dirty_method.hpp"

#include "kvm/dirty_ring.hpp"
#include "kvm/probe.hpp"

namespace aerate {

std::string_view name_of(DirtyMethod method) {
    switch (method) {
    case DirtyMethod::eager_bitmap:
        return "eager bitmap";
    case DirtyMethod::manual_bitmap:
        return "manual bitmap";
    case DirtyMethod::manual_bitmap_sliced:
        return "manual bitmap, started in slices";
    case DirtyMethod::ring:
        return "ring";
    }
    return "";
}

Result<void> check_offered(const Kvm& kvm, DirtyMethod method) {
    const int manual = kvm.capability(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
    const int ring = kvm.capability(KVM_CAP_DIRTY_LOG_RING_ACQ_REL);
    switch (method) {
    case DirtyMethod::eager_bitmap:
        break;
    case DirtyMethod::manual_bitmap:
        if ((manual & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) == 0)
            return fail("this host's KVM lacks KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: it needs Linux 5.2 or newer");
        break;
    case DirtyMethod::manual_bitmap_sliced:
        if ((manual & KVM_DIRTY_LOG_INITIALLY_SET) == 0)
            return fail("this host's KVM lacks KVM_DIRTY_LOG_INITIALLY_SET: it needs Linux 5.7 or newer");
        break;
    case DirtyMethod::ring:
        if (ring < static_cast<int>(DirtyRing::length.value))
            return fail(
                "this host's KVM lacks KVM_CAP_DIRTY_LOG_RING_ACQ_REL (it offers {} bytes a vCPU, {} are needed): "
                "it needs Linux 6.1 or newer on x86-64",
                ring, DirtyRing::length.value);
        if (auto hardware = probe_hardware(kvm); !hardware) // an emulating KVM overruns it
            return fail("this host's KVM cannot be trusted with a dirty ring: {}", hardware.error().message);
        break;
    }
    return {};
}

} // namespace aerate
