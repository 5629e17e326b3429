// What is known of every page, in generations: the hint rule as sets of pages.
//
//     vCPUs, the monitor, devices ──▶ log ──harvest()──▶ pending ──▶ sent
//                                                           ▲
//                                              hint() erases here, and nowhere else
//
// `log` is the next generation: everything that was written since the last harvest. `pending` is this round's, frozen:
// only harvest() sets bits in it. A command ID is published after a harvest, so a hint of that ID can only speak about
// what is in `pending`. A write that came after the ID is in `log`, out of the hint's reach, and comes back with the
// next harvest.
#pragma once

#include "base/error.hpp"
#include "protocol/page_set.hpp"

namespace aerate::protocol {

template <PageSet Set>
struct PageLayers {
    Set log;     ///< written or discarded since the last harvest
    Set pending; ///< to be sent in this round
    Set hinted;  ///< free by the guest's word and not written since, nor sent: its content does not matter

    bool operator==(const PageLayers&) const = default;

    /// Creates empty layers for an address space of that size. Fails when the host refuses the memory.
    static Result<PageLayers> create(PageCount size) {
        return PageLayers{
            .log = TRY(Set::create(size)), .pending = TRY(Set::create(size)), .hinted = TRY(Set::create(size))};
    }

    /// REQUIRES: hinting is closed, so that no hint of the old generation meets the new one. Every log is gathered in
    /// `log`, along with the buffers that devices hold, in such a way that *every* later write leaves a new trace:
    /// KVM's log which is read now and cleared chunk by chunk later would not do, as a write between the two leaves
    /// none.
    void harvest() {
        hinted.remove(log);
        log.move_into(pending);
    }

    /// REQUIRES: the hint carries the current command ID, which was published after the last harvest.
    void hint(PageRange range) {
        pending.clear(range);
        hinted.set(range);
    }

    /// Returns the next pages to send, which leave `pending`. Empty when there are none.
    /// REQUIRES: their content is read after this returns.
    [[nodiscard]] PageRange take_pending(PageCount limit) {
        const PageRange run = pending.next_run({0}, limit);
        pending.clear(run);
        hinted.clear(run);
        return run;
    }
};

} // namespace aerate::protocol
