// What a guest's programs can see of being moved or copied (VMClock): a page in the guest's memory, which the ACPI
// tables say where to find, with two counts. Linux has had it as /dev/vmclock0 since 6.13.
//
//     disruption_marker         rises whenever clocks may have jumped: after a move and after a restore
//     vm_generation_counter     rises when the guest may be one of several: after a restore only
//
// The counts are in the guest's memory and go along with it. No time is published: the status says so.
#pragma once

#include "memory/guest_memory.hpp"

#include <cstdint>

namespace aerate {

class VmClock {
public:
    VmClock(GuestMemory& memory, GuestAddress where)
        : memory_(memory)
        , where_(where) {}

    /// Makes the page of a guest that boots. False if there is no RAM.
    [[nodiscard]] bool begin();
    /// Counts a move or, with `copied`, a restore. Does nothing for a guest that was booted without such a page.
    void disrupted(bool copied);

    static constexpr ByteCount page{4096};

private:
    GuestMemory& memory_;
    GuestAddress where_;
};

} // namespace aerate
