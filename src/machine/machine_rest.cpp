// How a guest comes to rest and goes on, for its operator, for a sweep's batches, for a snapshot or a migration: what
// protocol::Freeze decides, with this VM's devices and vCPUs.
#include "machine/machine.hpp"

#include <algorithm>
#include <utility>

namespace aerate {

using control::conflict;

Freezer::Guest Machine::parts() {
    Freezer::Guest guest;
    for (VirtioSlot& slot : hardware_->slots) {
        const auto index = static_cast<unsigned>(guest.devices.size());
        const auto pause = [this, &slot, index](protocol::OrderNumber order) {
            slot.loop->post([this, &slot, index, order] {
                slot.transport->pause([this, index, order] {
                    loop_.post([this, index, order, alive = std::weak_ptr(alive_)] {
                        if (!alive.expired())
                            freezer_.device_rests(index, order);
                    });
                });
            });
        };
        const auto resume = [&slot](protocol::OrderNumber) { slot.loop->post([&slot] { slot.transport->resume(); }); };
        guest.devices.push_back({slot.name(), pause, resume});
    }
    for (const auto& vcpu : hardware_->vcpus)
        guest.vcpus.push_back({"vcpu" + std::to_string(guest.vcpus.size()),
                               [&vcpu](protocol::OrderNumber order) { vcpu->pause(order); },
                               [&vcpu](protocol::OrderNumber order) { vcpu->resume(order); }});
    return guest;
}

/// A guest at rest has memory that nobody writes.
Result<> Machine::keep_clock() {
    return hardware_->clock.keep(loop_, [this] { return freezer_.runs(); });
}

/// Devices are at rest already; the vCPUs begin with the order to pause.
Result<> Machine::begin_at_rest(Freezer::Claimant who) {
    TRY(keep_clock());
    TRY(hardware_->start_threads());
    state_ = State::started;
    freezer_.begin_at_rest(parts(), who);
    tell_state();
    return {};
}

void Machine::pause(control::Server::Answer answer) {
    pause_lapses_.cancel();
    hold_paused(std::move(answer));
}

void Machine::pause_for(std::chrono::milliseconds time, control::Server::Answer answer) {
    if (pausing_or_paused() && !pause_lapses_.active())
        return answer(conflict("the VM is paused already, until it is resumed"));
    pause_lapses_ = loop_.after(time, [this] { freezer_.release(Freezer::Claimant::pause); });
    hold_paused(std::move(answer));
}

void Machine::hold_paused(control::Server::Answer answer) {
    freezer_.claim(Freezer::Claimant::pause, [this, answer = std::move(answer)](Result<> held) mutable {
        if (!held)
            return answer(conflict(std::move(held).error().message));
        end_reclaim([answer = std::move(answer)]() mutable { answer(control::Done{}); });
    });
}

/// Ends sweeps and squeezes. A guest that is stopped says nothing, and a sweep would wait for its word until its time
/// is up: its caller, and the snapshot that an operator has paused the guest for. What was given back stays so. Only
/// now that the guest rests: a pause that fails ends nothing.
void Machine::end_reclaim(std::move_only_function<void()> then) {
    if (!waiting_for_sweep_ && !waiting_for_squeeze_)
        return then();
    hardware_->balloon_thread.loop().post([this, then = std::move(then)]() mutable {
        constexpr std::string_view why = "the VM was paused, which ends it; what it has given back stays with the host";
        hardware_->idle_memory->cancel(why);
        hardware_->squeezer->cancel(why);
        loop_.post(std::move(then)); // behind the answers to those
    });
}

/// Resumes the guest, and ends a pause that is under way.
void Machine::resume(bool force, control::Server::Answer answer) {
    if (crashed())
        return answer(conflict("the guest has crashed: " + crash_));
    if (given_away()) {
        if (!force)
            return answer(
                conflict("the guest was given to the destination of its migration, which did not answer and may run "
                         "it: when it is certain that it does not, aerate resume --force " +
                         config_.name));
        hardware_->take_back_disks();
        freezer_.release(Freezer::Claimant::outgoing);
    }
    pause_lapses_.cancel();
    freezer_.release(Freezer::Claimant::pause);
    answer(control::Done{});
}

/// Returns the sweeper's view of the guest. Any thread: questions and answers are posted.
Sweeper::Guest Machine::held_for_sweeps() {
    const auto on_main = [this](void (Machine::*f)()) {
        return [this, f, alive = std::weak_ptr(alive_)] {
            loop_.post([this, f, alive] {
                if (!alive.expired())
                    (this->*f)();
            });
        };
    };
    return {.hold = on_main(&Machine::hold_for_sweep), .resume = on_main(&Machine::release_from_sweep)};
}

void Machine::hold_for_sweep() {
    // A batch costs nothing more when the guest is already stopped.
    const auto now = Freezer::Clock::now();
    const bool moves = freezer_.moves();
    freezer_.claim(Freezer::Claimant::sweep, [this, now, moves](Result<> held) {
        Result<Freezer::Clock::time_point> since = moves ? freezer_.stopped_since() : now;
        if (!held)
            since = std::unexpected(std::move(held).error());
        hardware_->balloon_thread.loop().post(
            [this, since = std::move(since)]() mutable { hardware_->sweeper->held(std::move(since)); });
    });
}

void Machine::release_from_sweep() {
    freezer_.release(Freezer::Claimant::sweep);
}

/// Makes each vCPU rest for its share of every period. Its thread sleeps, so an order to stop waits for the end
/// of the period, at most.
void Machine::throttle(unsigned percent) {
    constexpr std::chrono::milliseconds period{20};
    throttle_ = {};
    if (percent == 0)
        return;
    throttle_ = loop_.every(period, [this, rest = std::chrono::microseconds(period) * std::min(percent, 99U) / 100] {
        if (!freezer_.runs())
            return;
        for (const auto& vcpu : hardware_->vcpus)
            vcpu->rest(rest);
    });
}

} // namespace aerate
