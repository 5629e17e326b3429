// One VM's monitor, as the daemon knows it: what it last said, whether it answers, and what it can be told.
//
// On the loop's thread.
#pragma once

#include "host/event_link.hpp"
#include "host/monitor_link.hpp"
#include "host/orders_of.hpp"
#include "host/pulse.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace aerate::hostd {

class Monitor {
public:
    using Clock = std::chrono::steady_clock;
    /// Far longer than a tick waits: a monitor that is merely slow is not asked again and again.
    static constexpr std::chrono::milliseconds question_deadline{5'000};
    /// For a guest to come to rest: see Freezer.
    static constexpr std::chrono::milliseconds order_deadline{15'000};

    Monitor(EventLoop&, std::string name, const std::string& socket, EventLink::Heard heard);

    /// Asks how the VM is, unless that is being asked already. `done` is called when there is an answer, or none to be
    /// had; not within this call.
    void look(std::function<void()> done);
    [[nodiscard]] bool looking() const { return looking_; }

    /// Returns what the monitor last said: nothing before it has said anything.
    [[nodiscard]] const std::optional<Pulse>& pulse() const { return pulse_; }
    [[nodiscard]] std::chrono::milliseconds pulse_age() const;
    [[nodiscard]] const std::optional<Traits>& traits() const { return traits_; }
    /// Returns whether its last question was answered, and none waits.
    [[nodiscard]] bool answers() const { return answers_ && !looking_; }
    /// Returns whether the next look is worth waiting for.
    [[nodiscard]] bool prompt() const { return answers_ || !asked_; }
    /// Returns whether nobody listens at its socket.
    [[nodiscard]] bool gone() const { return gone_; }
    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] const Abilities& can() const { return can_; }
    [[nodiscard]] const Told& told() const { return told_; }

    /// Tells it what was decided, unless it has not carried out what it was told before.
    void carry_out(const policy::Decision&, std::chrono::milliseconds now);
    /// Has the monitor keep what its operator asks of the policy, if it can.
    void keep(const control::MemoryPolicy&);

private:
    void ask_status(std::function<void()> done);
    /// `otherwise`: what its status has just said, for a monitor that has no pulse.
    void ask_pulse(std::function<void()> done, std::optional<Pulse> otherwise = {});
    void looked(Result<Pulse>, const std::function<void()>& done);
    void order_answered(Order::Kind, Result<MonitorLink::Answer>);

    std::string name_;
    std::optional<Traits> traits_;
    std::optional<Pulse> pulse_;
    Clock::time_point pulse_at_{};
    bool looking_ = false;
    bool asked_ = false;
    bool answers_ = false;
    bool gone_ = false;
    bool has_pulse_ = true; ///< GET /aerate/pulse; else its status is asked for
    Abilities can_{};
    Told told_{};
    MonitorLink questions_;
    MonitorLink orders_;
    EventLink events_;
};

} // namespace aerate::hostd
