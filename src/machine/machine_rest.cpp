// How a guest comes to rest and goes on: for its operator, for a sweep's batches, for whoever copies it.
#include "machine/machine.hpp"

#include <algorithm>
#include <utility>

namespace aerate {

using control::conflict;

void Machine::pause(control::Server::Answer answer) {
    if (state_ == State::crashed)
        return answer(conflict("the guest has crashed: " + crash_));
    const bool paused = std::exchange(pause_wanted_, true) && state_ == State::at_rest && waiting_for_pause_.empty();
    if (paused || (state_ == State::at_rest && !hold_wanted_))
        return answer(control::Done{});
    waiting_for_pause_.push_back(std::move(answer));
    if (state_ == State::running)
        come_to_rest();
}

void Machine::resume(bool force, control::Server::Answer answer) {
    if (state_ == State::crashed)
        return answer(conflict("the guest has crashed: " + crash_));
    if (!waiting_for_pause_.empty())
        return answer(conflict("the VM is still coming to rest: try again"));
    if (given_away_ && !force)
        return answer(
            conflict("the guest was given to the destination of its migration, which did not answer and may run "
                     "it: when it is certain that it does not, aerate resume --force " +
                     config_.name));
    if (std::exchange(given_away_, false)) {
        hardware_->take_back_disks();
        held_ = false;
    }
    pause_wanted_ = false;
    vcpus_rest_since_ = std::chrono::steady_clock::now();
    if (state_ == State::at_rest && hold_wanted_)
        rests();
    else
        go_on();
    answer(control::Done{});
}

// The freeze barrier: devices finish what they have taken and take no more, then the vCPUs stop. In this order a vCPU
// that waits for a device's register is answered.
void Machine::come_to_rest() {
    state_ = State::coming_to_rest;
    devices_rest_ = false;
    still_moving_ = hardware_->slots.size() + 1;
    for (VirtioSlot& slot : hardware_->slots)
        slot.loop->post([this, &slot] {
            slot.transport->pause([this] {
                loop_.post([this, alive = std::weak_ptr(alive_)] {
                    if (!alive.expired())
                        count_down_to_rest();
                });
            });
        });
    count_down_to_rest();
}

void Machine::count_down_to_rest() {
    if (state_ != State::coming_to_rest || --still_moving_ > 0)
        return;
    if (std::exchange(devices_rest_, true))
        return rests();
    vcpus_rest_since_ = std::chrono::steady_clock::now();
    still_moving_ = hardware_->vcpus.size();
    for (const auto& vcpu : hardware_->vcpus)
        vcpu->pause();
}

void Machine::rests() {
    state_ = State::at_rest;
    if (auto held = std::exchange(waiting_for_hold_, std::nullopt)) {
        held_ = true;
        return (*held)({});
    }
    // A batch costs a guest that is paused nothing.
    if (hold_wanted_)
        return hardware_->balloon_thread.loop().post(
            [this, since = vcpus_rest_since_] { hardware_->sweeper->held(since); });
    for (auto& answer : std::exchange(waiting_for_pause_, {}))
        answer(control::Done{});
}

void Machine::go_on() {
    if (state_ != State::at_rest || pause_wanted_ || hold_wanted_ || held_)
        return;
    state_ = State::running;
    for (VirtioSlot& slot : hardware_->slots)
        slot.loop->post([&slot] { slot.transport->resume(); });
    for (const auto& vcpu : hardware_->vcpus)
        vcpu->resume();
}

/// For whoever copies the guest. One that is paused already rests as it is, and stays paused.
void Machine::hold(LiveGuest::Held held) {
    if (state_ == State::crashed || state_ == State::ending)
        return held(fail("the guest has ended meanwhile"));
    waiting_for_hold_ = std::move(held);
    if (state_ == State::running)
        come_to_rest();
    else if (state_ == State::at_rest)
        rests();
}

void Machine::release() {
    if (!std::exchange(held_, false) || state_ != State::at_rest)
        return;
    if (pause_wanted_)
        rests();
    else
        go_on();
}

void Machine::hold_for_sweep() {
    hold_wanted_ = true;
    if (state_ == State::running)
        come_to_rest();
    else if (state_ == State::at_rest)
        rests();
}

void Machine::release_from_sweep() {
    hold_wanted_ = false;
    if (state_ == State::at_rest && pause_wanted_)
        rests();
    else
        go_on();
}

/// Each vCPU rests for its share of every period. Its thread sleeps, so an order to stand still waits for the end of
/// the period, at most.
void Machine::throttle(unsigned percent) {
    constexpr std::chrono::milliseconds period{20};
    throttle_ = {};
    if (percent == 0)
        return;
    throttle_ = loop_.every(period, [this, rest = std::chrono::microseconds(period) * std::min(percent, 99U) / 100] {
        if (state_ != State::running)
            return;
        for (const auto& vcpu : hardware_->vcpus)
            vcpu->rest(rest);
    });
}

} // namespace aerate
