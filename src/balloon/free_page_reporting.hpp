// The free page reporting queue (virtio 1.2, 5.5.6.7): blocks that the guest holds isolated until their chain is used,
// so they are discarded first and the chains completed afterwards. Loop thread.
#pragma once

#include "balloon/counters.hpp"
#include "balloon/page_states.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/virtqueue.hpp"

#include <cstdint>
#include <expected>
#include <vector>

namespace aerate::balloon {

/// What reported pages must read as afterwards (virtio 1.2, 5.5.6.7.2).
enum class ReportedContent : std::uint8_t {
    undefined_or_zero, ///< PAGE_POISON was not negotiated, or its value is 0: they can be discarded
    poison_value,      ///< they already hold a value which is not zero, and must keep it
};

class FreePageReporting {
public:
    FreePageReporting(GuestMemory& memory, PageStates& states, Counters& counters)
        : memory_(memory)
        , states_(states)
        , counters_(counters) {}

    std::expected<bool, virtio::RingFault> serve(virtio::Virtqueue&, ReportedContent);

private:
    void take(const virtio::DescriptorChain&);
    void discard();

    GuestMemory& memory_;
    PageStates& states_;
    Counters& counters_;
    std::vector<PageRange> ranges_;
    std::vector<virtio::ChainId> taken_;
};

} // namespace aerate::balloon
