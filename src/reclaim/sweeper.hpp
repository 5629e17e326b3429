// Gives back all of a running guest's free memory at once: carries out protocol::Sweep with the real logs, the
// balloon's hints and the real discards, in one of two ways:
//
//     by content   what reads as zero while the guest is held. For a guest that clears what it hints (Linux with
//                  init_on_alloc, as Debian has it): nothing is write-protected.
//     by log       also what holds something, and was not written since. Each page that the guest writes meanwhile, to
//                  clear it too, costs it a fault, and KVM maps it by 4 KiB.
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
#include <optional>
#include <string_view>
#include <vector>

namespace aerate {

struct SweepReport {
    PageCount hinted;    ///< repetitions included
    PageCount discarded; ///< of them; the rest holds data again, or the host refused
    PageCount read;      ///< to see whether it is zero
    PageCount zero;      ///< of those; by content the others were kept
    unsigned batches = 0;
    std::chrono::microseconds longest_hold{}; ///< for which no vCPU ran
    std::chrono::microseconds duration{};
    bool cut = false; ///< the guest did not finish in time: there may be more
};

class Sweeper final : private HintSink {
public:
    /// hold(): brings devices and vCPUs to rest and calls held(), on the balloon loop; resume(): lets them go on, and
    /// takes an order to hold that is not carried out back. Both return at once.
    struct Guest {
        std::function<void()> hold;
        std::function<void()> resume;
    };
    using Done = std::move_only_function<void(Result<SweepReport>)>;

    enum class Way : std::uint8_t { by_content, by_log };

    /// How much is discarded while the guest is held once: that sets the length of its pause. By content, where it is
    /// read then too, a quarter.
    static constexpr PageCount default_batch = whole_pages_of(ByteCount{64ULL << 20});

    Sweeper(EventLoop& loop, GuestMemory& memory, DirtyTracker& tracker, balloon::FreePageHinting& hinting, Guest guest,
            PageCount batch = default_batch);

    /// Fails through `done` when a sweep is under way, when the guest has not negotiated hinting or does not answer, or
    /// when it does not come to rest. By content it ends early when a guest hints what is not zero for the most part.
    void start(Way, Done done);
    /// Continues with the guest at rest, its vCPUs since that time; or ends the sweep if it cannot be brought to rest.
    void held(Result<std::chrono::steady_clock::time_point> since);
    /// Ends a sweep that is under way, in whatever it is doing: its `done` fails with `why`, the guest runs on if it is
    /// held, and nothing more is discarded.
    void cancel(std::string_view why);
    [[nodiscard]] bool busy() const { return done_ != nullptr; }

private:
    using Clock = std::chrono::steady_clock;

    [[nodiscard]] Result<> prepare(Way);
    void hinted(PageRange) override;
    void round_ended(RoundEnd) override;
    void tell(const protocol::SweepEvent&);
    void gather();
    void publish();
    void find_own();
    void scan();
    void hold();
    void discard();
    void resume();
    void finish();
    void end(Result<SweepReport>);
    void let_go();

    EventLoop& loop_;
    GuestMemory& memory_;
    DirtyTracker& tracker_;
    balloon::FreePageHinting& hinting_;
    Guest guest_;
    PageCount batch_;

    // State of the sweep under way.
    Done done_;
    DirtyTracker::Tracking writes_;
    protocol::Sweep<PageBitmap> sweep_;
    SweepReport report_;
    PageCount collected_; ///< hinted since the last batch was begun
    Clock::time_point began_;
    std::optional<Clock::time_point> held_since_; ///< while the guest is held
    Clock::time_point may_hold_;                  ///< it has run for as long as it was held before
    bool hold_asked_ = false;
    std::vector<PageRange> ranges_;
    PageBitmap own_; ///< of this batch: in RAM, and no file's
    Subscription breath_;
};

} // namespace aerate
