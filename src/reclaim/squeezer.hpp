// Pushes memory out of a guest, its page cache to begin with: inflates the balloon while there is more to take, and
// lets go. The guest keeps its size; the host has the memory, since what the balloon took was discarded and what it
// gives back is not touched until the guest needs it.
//
// Never into want: the guest is asked before each step what it could still give, and the first sign of distress (a
// stalled allocation, an OOM kill, pages taken back from the balloon) ends the inflation. Its numbers are its own, so a
// guest that lies harms itself only.
//
// Balloon loop.
#pragma once

#include "balloon/balloon.hpp"
#include "base/error.hpp"
#include "event/event_loop.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace aerate {

struct SqueezeReport {
    ByteCount taken; ///< by the balloon, at most
    ByteCount resident_before;
    ByteCount resident_after; ///< when the guest has its pages back
    std::chrono::microseconds duration{};
    std::string stopped_by; ///< empty: the guest had nothing more to give
};

class Squeezer {
public:
    using Done = std::move_only_function<void(Result<SqueezeReport>)>;
    /// What the guest could still give.
    using Surplus = std::move_only_function<Result<ByteCount>(const balloon::GuestStatistics&)>;

    Squeezer(EventLoop& loop, GuestMemory& memory, balloon::Balloon& balloon)
        : loop_(loop)
        , memory_(memory)
        , balloon_(balloon) {}

    /// Leaves `keep` of what the guest could use. Fails through `done` when one is under way or the guest gives no
    /// statistics.
    void start(ByteCount keep, Done done);
    struct Pace {
        std::chrono::milliseconds patience; ///< with a guest that finds no page
        std::chrono::seconds limit;         ///< whatever the guest does; it is let go then
    };
    /// Takes until `surplus`, asked before each step, is nothing. Fails as `surplus` does at first.
    void start(Surplus surplus, Pace pace, Done done);
    [[nodiscard]] bool busy() const { return done_ != nullptr; }
    /// Ends one that is under way: puts the target back, and its `done` fails with `why`.
    void cancel(std::string_view why);

    /// Small enough that a guest which runs short is noticed before it is in trouble.
    static constexpr PageCount step = whole_pages_of(ByteCount{64ULL << 20});

private:
    using Clock = std::chrono::steady_clock;
    struct Distress {
        std::uint64_t stalls = 0;
        std::uint64_t kills = 0;
        std::uint64_t taken_back = 0;
        auto operator<=>(const Distress&) const = default;
    };

    void look();
    void decide(const balloon::GuestStatistics&);
    void inflate_to(PageCount target);
    void let_go(std::string why);
    void put_target_back();
    void watch_balloon();
    void balloon_moved();
    void look_at_balloon();
    void leave_balloon();
    [[nodiscard]] PageCount distance() const;
    void finish();
    void end(Result<SqueezeReport>);
    [[nodiscard]] Distress distress(const balloon::GuestStatistics&) const;

    EventLoop& loop_;
    GuestMemory& memory_;
    balloon::Balloon& balloon_;

    // State of the one under way.
    std::uint64_t run_ = 0; ///< its number
    Done done_;
    Surplus surplus_;
    std::chrono::milliseconds patience_{};
    Clock::time_point deadline_;
    PageCount target_before_;
    PageCount nearest_; ///< to the target, since it was set
    std::optional<Distress> distress_at_first_;
    Clock::time_point began_;
    Clock::time_point moved_; ///< when `actual` last came nearer
    bool letting_go_ = false;
    SqueezeReport report_;
    Subscription look_at_balloon_; ///< active: it has moved since the last look
    Subscription patience_ends_;
};

} // namespace aerate
