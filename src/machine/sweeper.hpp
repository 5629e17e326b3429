// Gives back all of a running guest's free memory at once: carries out protocol::Sweep with the real logs, the
// balloon's hints and the real discards.
//
// Lives on the balloon loop. What holds the guest lives on the main loop, so that is asked and answered by posts.
#pragma once

#include "balloon/free_page_hinting.hpp"
#include "base/error.hpp"
#include "memory/dirty_tracker.hpp"
#include "memory/guest_memory.hpp"
#include "protocol/sweep.hpp"

#include <chrono>
#include <functional>
#include <vector>

namespace aerate {

struct SweepReport {
    PageCount hinted;    ///< repetitions included
    PageCount discarded; ///< of them; the rest holds data again, or the host refused
    unsigned batches = 0;
    std::chrono::microseconds longest_hold{}; ///< for which no vCPU ran
    std::chrono::microseconds duration{};
    bool cut = false; ///< the guest did not come to the end in time: there may be more
};

class Sweeper final : private HintSink {
public:
    /// Any thread. hold(): bring devices and vCPUs to rest and call held(); resume(): let them go on.
    struct Guest {
        std::function<void()> hold;
        std::function<void()> resume;
    };
    using Done = std::move_only_function<void(Result<SweepReport>)>;

    /// How much is discarded while the guest is held once: that sets the length of its pause.
    static constexpr PageCount batch = whole_pages_of(ByteCount{64ULL << 20});

    Sweeper(EventLoop& loop, GuestMemory& memory, DirtyTracker& tracker, balloon::FreePageHinting& hinting,
            Guest guest);

    /// Fails through `done` when a sweep is under way, or when the guest has not negotiated hinting.
    void start(Done done);
    /// The guest is at rest; its vCPUs since `since`.
    void held(std::chrono::steady_clock::time_point since);

private:
    using Clock = std::chrono::steady_clock;

    void hinted(PageRange) override;
    void round_ended(RoundEnd) override;
    void tell(const protocol::SweepEvent&);
    void gather();
    void publish();
    void scan();
    void discard();
    void resume_guest();
    void resumed();
    void finish();
    void end(Result<SweepReport>);

    EventLoop& loop_;
    GuestMemory& memory_;
    DirtyTracker& tracker_;
    balloon::FreePageHinting& hinting_;
    Guest guest_;

    // Of the sweep under way.
    Done done_;
    DirtyTracker::Tracking writes_;
    protocol::Sweep<PageBitmap> sweep_;
    SweepReport report_;
    PageCount collected_; ///< hinted since the last batch was begun
    Clock::time_point began_;
    Clock::time_point held_since_;
    std::vector<PageRange> ranges_;
    Subscription next_batch_;
};

} // namespace aerate
