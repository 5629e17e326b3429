#include "kvm/dirty_log.hpp"

#include "kvm/dirty_bitmap.hpp"
#include "kvm/dirty_ring.hpp"

namespace aerate {

std::unique_ptr<DirtyLog> make_dirty_log(Vm& vm, const GuestMemory& memory) {
    if (vm.dirty_method() == DirtyMethod::ring)
        return std::make_unique<DirtyRingLog>(vm);
    return std::make_unique<DirtyBitmap>(vm, memory);
}

} // namespace aerate
