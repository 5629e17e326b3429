// What a monitor does for its balloon by itself, whether a host's policy watches or not:
//
// - A guest that has taken pages back suffers: some of its balloon is given to it, as much as the law would give,
// within
//   20 ms. (That its target becomes what the balloon has is Balloon's, at once.)
// - A target of the policy's is good for as long as its permit: see protocol/inflation_permit.hpp.
// - What has happened is told. Of each kind at most one waits: a guest that writes its balloon's registers all the time
//   makes no more than one message in `between_news`.
//
// Balloon loop.
#pragma once

#include "balloon/balloon.hpp"
#include "base/error.hpp"
#include "event/event_loop.hpp"
#include "memory/guest_memory.hpp"
#include "protocol/inflation_permit.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

namespace aerate {

/// What has happened since the last news.
struct BalloonNews {
    PageCount target; ///< now
    PageCount actual;
    bool target_reached = false;
    PageCount taken_back;  ///< unasked
    bool relieved = false; ///< the target was lowered for the guest's sake
    std::uint64_t oom_kills = 0;
    std::uint64_t alloc_stalls = 0;
    bool permit_lapsed = false;
    bool statistics = false; ///< new ones are there
};

class BalloonCare {
public:
    using Tell = std::move_only_function<void(const BalloonNews&)>;

    /// `before_lapse` is called before a lapse lowers the target: what moves the balloon otherwise ends then.
    BalloonCare(EventLoop&, const GuestMemory&, balloon::Balloon&, EventLoop::Callback before_lapse, Tell);
    ~BalloonCare();
    BalloonCare(const BalloonCare&) = delete;
    BalloonCare& operator=(const BalloonCare&) = delete;

    /// Sets the target for the host's policy. Fails, and changes nothing, when it would take the guest below `floor`,
    /// or the balloon refuses it.
    [[nodiscard]] Result<> permit(PageCount target, std::chrono::milliseconds time, ByteCount floor);
    /// Ends the permit: the operator has set the target.
    void operator_has_spoken();
    /// Returns for how long the policy's target is still good.
    [[nodiscard]] std::optional<std::chrono::milliseconds> permit_left() const;
    [[nodiscard]] std::uint64_t permits_lapsed() const { return lapses_; }

    static constexpr std::chrono::milliseconds between_news{20};
    /// A guest that runs out takes a MiB back at a time. What it gets is counted from what is left after a few.
    static constexpr std::chrono::milliseconds relief_delay{10};

private:
    using Clock = std::chrono::steady_clock;

    void changed(balloon::BalloonChange);
    void relieve();
    void lapse();
    void take_statistics();
    void tell_soon();

    EventLoop& loop_;
    const GuestMemory& memory_;
    balloon::Balloon& balloon_;
    EventLoop::Callback before_lapse_;
    Tell tell_;
    protocol::InflationPermit permit_;
    std::uint64_t lapses_ = 0;
    bool under_way_ = false; ///< the target was not reached since it was set
    PageCount seen_taken_back_;
    std::optional<std::uint64_t> kills_; ///< as the guest said last
    std::optional<std::uint64_t> stalls_;
    BalloonNews news_;
    Clock::time_point told_{};
    Subscription permit_ends_;
    Subscription relief_;
    Subscription telling_;
};

} // namespace aerate
