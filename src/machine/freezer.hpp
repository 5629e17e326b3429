// Carries out protocol::Freeze with a VM's real devices and vCPUs: gives the orders, keeps the deadline, and answers
// those who want the guest at rest.
//
// Lives on the main loop, which it never blocks.
#pragma once

#include "base/error.hpp"
#include "event/event_loop.hpp"
#include "protocol/freeze.hpp"

#include <array>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace aerate {

class Freezer {
public:
    using OrderNumber = protocol::OrderNumber;
    using Claimant = protocol::Claimant;
    using Clock = std::chrono::steady_clock;

    /// A device or a vCPU.
    struct Part {
        std::string name; ///< as the operator knows it: "block:rootfs", "vcpu0"
        /// Asks it to come to rest. The answer is device_rests() or vcpu_rests() with this number, and never comes when
        /// a resume() overtakes it.
        std::function<void(OrderNumber)> pause;
        std::function<void(OrderNumber)> resume;
    };
    struct Guest {
        std::vector<Part> devices;
        std::vector<Part> vcpus;
    };
    /// Called once: the guest is at rest until release(), or an error says why it is not.
    using Held = std::move_only_function<void(Result<>)>;

    /// For how long devices and vCPUs may take to come to rest, together. The guest runs meanwhile, without its
    /// devices. Longer than a disk that is merely busy takes; shorter than clients wait (control/client.hpp).
    static constexpr std::chrono::milliseconds limit{10'000};

    explicit Freezer(EventLoop& loop, std::chrono::milliseconds longest = limit);

    /// Calls `changed` after each event, also one that changes nothing.
    void on_change(std::function<void()> changed) { changed_ = std::move(changed); }

    /// Lets the vCPUs run, and the devices, which do.
    void begin_running(Guest);
    /// Begins with devices and vCPUs at rest; `who` holds the guest.
    void begin_at_rest(Guest, Claimant who);

    void claim(Claimant who, Held);
    /// Lets go, or gives up waiting: then Held is called with an error. Nothing happens when `who` has no claim.
    void release(Claimant who);
    /// Turns the copy's claim into that of a destination that does not answer.
    void give_away() { tell({.kind = protocol::FreezeEvent::Kind::give_away}); }
    void device_rests(unsigned index, OrderNumber);
    void vcpu_rests(unsigned index, OrderNumber);
    /// Stops the guest for good. `why` is told to those who wait for it, and to those who come later.
    void crashed(std::string why);
    void ended(std::string why);

    [[nodiscard]] bool runs() const { return state_.phase == Phase::running; }
    /// Returns whether vCPUs run, though the guest may be coming to rest.
    [[nodiscard]] bool moves() const { return runs() || state_.coming_to_rest(); }
    [[nodiscard]] bool has_crashed() const { return state_.phase == Phase::crashed; }
    /// Returns whether `who` was told that the guest rests, and has not released it.
    [[nodiscard]] bool holds(Claimant who) const { return state_.holds(who); }
    /// Returns whether `who` waits for the guest to come to rest.
    [[nodiscard]] bool waits(Claimant who) const { return state_.coming_to_rest() && state_.claims.has(who); }
    /// Returns when the last vCPUs to come to rest were told to.
    [[nodiscard]] Clock::time_point stopped_since() const { return stopped_since_; }

private:
    using Phase = protocol::Freeze::Phase;

    void take(Guest, Phase, protocol::Claims);
    void tell(const protocol::FreezeEvent&);
    void carry_out(const protocol::FreezeEffect&, OrderNumber);
    void answer(Claimant, const Result<>&);
    [[nodiscard]] std::string describe(const protocol::FreezeEffect&) const;

    EventLoop& loop_;
    std::chrono::milliseconds longest_;
    Guest guest_;
    protocol::Freeze state_;
    std::array<std::vector<Held>, protocol::claimants> waiting_;
    Subscription deadline_;
    Clock::time_point stopped_since_;
    std::function<void()> changed_;
    std::string gone_; ///< why the guest is stopped for good
};

} // namespace aerate
