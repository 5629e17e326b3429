// The inflate and deflate queues (virtio 1.2, 5.5.6): arrays of PFNs that the guest gives up or takes back.
//
// PFNs become runs as they are read, the runs of a whole batch of chains are sorted and joined, and the batch is
// discarded with one call before any of its chains is completed.
//
// When a host page is larger than a PFN's 4 KiB, a host page is discarded once all of it is in the balloon. That may be
// long after most of its PFNs were acknowledged, which is legal only with MUST_TELL_HOST (5.5.6.1: otherwise a driver
// may use a page again before it tells). Without it, only what one batch covers wholly is discarded.
//
// Loop thread.
#pragma once

#include "balloon/counters.hpp"
#include "balloon/page_states.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/virtqueue.hpp"

#include <cstddef>
#include <expected>
#include <span>
#include <vector>

namespace aerate::balloon {

class Inflation {
public:
    /// More PFNs than this in one chain, 4 GiB worth, are skipped. Linux sends at most 256.
    static constexpr std::uint64_t max_chain_frames = 1ULL << 20;

    Inflation(GuestMemory& memory, PageStates& states, Counters& counters);

    /// Each serves at most one ring's worth and returns whether there may be more.
    std::expected<bool, virtio::RingFault> inflate(virtio::Virtqueue&, bool driver_tells_first);
    std::expected<bool, virtio::RingFault> deflate(virtio::Virtqueue&);

    /// Forgets every page: the guest has reset the device.
    void reset();
    /// REQUIRES: reset, and all of it is RAM.
    void restore(std::span<const PageRange> ballooned);
    [[nodiscard]] PageCount ballooned() const { return ballooned_; }

private:
    template <typename Apply>
    std::expected<bool, virtio::RingFault> serve(virtio::Virtqueue&, Apply apply);
    template <typename Apply>
    void read_frames(const virtio::DescriptorChain&, Apply& apply);
    void add_frame(FrameNumber);
    void join_runs();
    void inflate_runs(bool driver_tells_first);
    void deflate_runs();

    GuestMemory& memory_;
    PageStates& states_;
    Counters& counters_;
    PageCount ballooned_;
    std::vector<PageRange> runs_;   ///< of the batch: as read, then ascending and apart
    std::vector<PageRange> pieces_; ///< the same, inside RAM
    std::vector<virtio::ChainId> taken_;
};

} // namespace aerate::balloon
