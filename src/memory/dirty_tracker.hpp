// Which pages were written, for several users at the same time: a sweep, a migration, a diff snapshot. Each
// gets every page that was written since its own last gather, whichever others gathered meanwhile.
//
//     auto writes = TRY(tracker.track());     // the first one starts the logs
//     ...
//     writes.gather(pending);                 // adds to `pending`
//     publish_command_id();                   // both logs are cleared and armed: what is written now is gathered next
//     ...
//     writes = {};                            // the last one stops them
//
// Any thread, also one user's and another's at once. A mutex is held while the logs are started, stopped and taken,
// which is as long as the host's system calls last. No vCPU and no device ever takes it: they write guest memory, and
// the logs have their own ways.
//
// Buffers that devices hold are not seen here: they count as written from the moment they are popped, and code that
// reads guest memory while devices run has to add them.
#pragma once

#include "base/error.hpp"
#include "memory/dirty_source.hpp"
#include "memory/guest_memory.hpp"

#include <memory>
#include <mutex>
#include <vector>

namespace aerate {

class DirtyTracker {
    struct Leave {
        DirtyTracker* tracker;
        void operator()(PageBitmap* unseen) const { tracker->leave(unseen); }
    };

public:
    /// One user's view. Used by one thread at a time; ends with the object, and is outlived by the tracker.
    class Tracking {
    public:
        Tracking() = default; ///< of nothing
        /// Adds every page written since the last gather, or since track(), to `into`; maybe some more. A write that
        /// races with it is in this one or in the next. REQUIRES: made by track().
        void gather(PageBitmap& into);

    private:
        friend DirtyTracker;
        explicit Tracking(std::unique_ptr<PageBitmap, Leave> unseen)
            : unseen_(std::move(unseen)) {}
        std::unique_ptr<PageBitmap, Leave> unseen_; ///< taken by others since
    };

    /// REQUIRES: `memory` outlives the tracker; no other code starts, stops or takes either log.
    DirtyTracker(GuestMemory& memory, std::unique_ptr<DirtyLog> vcpus);
    /// REQUIRES: no Tracking is left.
    ~DirtyTracker();
    DirtyTracker(const DirtyTracker&) = delete;
    DirtyTracker& operator=(const DirtyTracker&) = delete;

    /// Begins empty. Fails when the host cannot log what the vCPUs write, or has no memory for it; then nothing is
    /// tracked for the caller, and the next one may try again.
    [[nodiscard]] Result<Tracking> track();

private:
    Result<void> start();
    void stop();
    void take(PageBitmap& into);
    void take_for_all();
    void gather(PageBitmap& unseen, PageBitmap& into);
    void leave(PageBitmap* unseen);

    std::mutex mutex_;
    GuestMemory& memory_;
    std::unique_ptr<DirtyLog> vcpus_;
    std::vector<PageBitmap*> users_; ///< what each has yet to see
    PageBitmap taken_;               ///< empty; here so that a gather for several needs no memory
};

} // namespace aerate
