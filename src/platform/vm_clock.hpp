// What a guest's programs can see of time, and of being moved or copied (VMClock): a page in the guest's memory, which
// the ACPI tables say where to find. Linux has had it as /dev/vmclock0 since 6.13, and the time as a PTP clock.
//
//     disruption_marker         rises whenever clocks may have jumped: after a move and after a restore
//     vm_generation_counter     rises when the guest may be one of several: after a restore only
//     counter_value, time_sec   what the guest's TSC was at what time of day, and at what rate it runs
//
// The counts are in the guest's memory and go along with it. Time is published where the host keeps its own by the TSC
// and the guest sees that one, shifted at most; with it go the errors that it may have. Elsewhere the status tells the
// guest not to rely on it. A guest that booted where there was none is given none later: that field is constant.
#pragma once

#include "memory/guest_memory.hpp"
#include "platform/host_discipline.hpp"

#include <concepts>
#include <cstdint>
#include <optional>

namespace aerate {

class VmClock {
public:
    VmClock(GuestMemory& memory, GuestAddress where)
        : memory_(memory)
        , where_(where) {}

    struct Time {
        std::uint64_t tsc = 0;      ///< the guest's
        std::uint64_t realtime = 0; ///< nanoseconds since 1970 at that moment
        std::uint32_t khz = 0;      ///< of the TSC, nominally; not 0
        HostDiscipline discipline{};
    };
    enum class Change : std::uint8_t {
        none,
        moved,
        copied, ///< restored from a snapshot
    };

    /// Makes the page of a guest that boots. False if there is no RAM.
    [[nodiscard]] bool begin(const std::optional<Time>&);
    /// Counts the change, and publishes the time. Does nothing for a guest that was booted without such a page.
    void update(Change, const std::optional<Time>&);

    static constexpr ByteCount page{4096};

private:
    void put(const std::optional<Time>&);
    void count(std::uint64_t offset);
    template <std::unsigned_integral T>
    void put(std::uint64_t offset, T value) {
        (void)memory_.store(GuestAddress{where_.value + offset}, value);
    }

    GuestMemory& memory_;
    GuestAddress where_;
};

} // namespace aerate
