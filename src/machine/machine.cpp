#include "machine/machine.hpp"

#include "base/log.hpp"

#include <sys/resource.h>

#include <utility>

namespace aerate {

using control::conflict;

namespace {

/// To the guest that runs elsewhere now, which may be on this host: undoing gigabytes of mappings takes a while.
void give_way() {
    (void)::setpriority(PRIO_PROCESS, 0, 19); // of this thread (setpriority(2), C library/kernel differences)
}

} // namespace

Machine::Machine(EventLoop& loop, control::VmConfig config, Options options)
    : loop_(loop)
    , config_(std::move(config))
    , options_(std::move(options))
    , operations_(loop,
                  {.hold = [this](LiveGuest::Held held) { hold(std::move(held)); },
                   .release = [this] { release(); },
                   .moved =
                       [this] {
                           give_way();
                           shut_down(Outcome::moved);
                       },
                   .throttle = [this](unsigned percent) { throttle(percent); }},
                  [this] { operation_ended(); }) {}

Result<> Machine::assemble(std::optional<ArrivingMemory> arriving) {
    hardware_ = TRY(Hardware::create(config_, options_.console, loop_,
                                     {.paused = [this] { count_down_to_rest(); },
                                      .ended = [this](GuestEnd end) { guest_ended(std::move(end)); },
                                      .left = [this] { vcpu_left(); },
                                      .quit = [this] { kill(); },
                                      .hold = [this] { hold_for_sweep(); },
                                      .release = [this] { release_from_sweep(); }},
                                     std::move(arriving)));
    if (options_.assembled)
        options_.assembled(*hardware_);
    started_ = std::chrono::steady_clock::now();
    return {};
}

Result<> Machine::or_nothing(Result<> result) {
    if (!result)
        hardware_.reset();
    return result;
}

Result<> Machine::start() {
    TRY(assemble(std::nullopt));
    return or_nothing(boot());
}

Result<> Machine::boot() {
    TRY(hardware_->boot(config_));
    TRY(hardware_->attach_console(options_.console));
    state_ = State::running;
    hardware_->balloon_thread.start();
    for (const auto& vcpu : hardware_->vcpus)
        vcpu->start();
    return {};
}

Result<> Machine::start(SavedGuest saved, bool paused) {
    TRY(assemble(ArrivingMemory{.memory = std::move(saved.memory)}));
    TRY(or_nothing(restore(saved, paused)));
    if (saved.record)
        hardware_->working_set = record_working_set(hardware_->memory, *std::move(saved.record));
    else if (!saved.working_set.empty())
        hardware_->working_set = prefetch(hardware_->memory, std::move(saved.working_set));
    return {};
}

Result<> Machine::restore(const SavedGuest& saved, bool paused) {
    if (saved.snapshot && config_.machine.track_dirty_pages) {
        // Before the devices are restored: what they write into memory is not in the snapshot.
        TRY(hardware_->diff_base().track());
        hardware_->diff_base().saved(*saved.snapshot);
    }
    TRY(hardware_->restore(saved.state));
    TRY(hardware_->attach_console(options_.console));
    stand_still(paused);
    return {};
}

Result<GuestMemory*> Machine::expect(GuestMemory memory) {
    TRY(assemble(ArrivingMemory{.memory = std::move(memory), .disks_too = true}));
    state_ = State::expecting;
    awaited_ = true;
    return &hardware_->memory;
}

Result<> Machine::arrive(const state::SavedVm& saved) {
    TRY(hardware_->disks_arrive());
    TRY(hardware_->restore(saved));
    stand_still(true);
    return {};
}

void Machine::go() {
    awaited_ = false;
    // Not earlier: at the console the operator could end a guest that is another monitor's.
    if (auto attached = hardware_->attach_console(options_.console); !attached)
        log::warning("{}: the guest runs without its console: {}", config_.name, attached.error().message);
    pause_wanted_ = false;
    go_on();
}

/// Devices are at rest already; the vCPUs begin with the order to stand still.
void Machine::stand_still(bool paused) {
    state_ = State::at_rest;
    pause_wanted_ = paused;
    hardware_->balloon_thread.start();
    for (const auto& vcpu : hardware_->vcpus) {
        vcpu->pause();
        vcpu->start();
    }
    go_on();
}

void Machine::guest_ended(GuestEnd end) {
    if (state_ == State::ending || state_ == State::crashed)
        return;
    // A guest that loses its way says nothing itself: its console only shows the next boot.
    if (end.kind == GuestEnd::Kind::reset && !end.reason.empty())
        log::warning("{}: the guest was reset by a {}", config_.name, end.reason);
    if (end.kind != GuestEnd::Kind::crash)
        return shut_down(end.kind == GuestEnd::Kind::reset ? Outcome::reset : Outcome::power_off);
    // The monitor stays, so that the operator can look (reliability: a guest never ends its monitor by crashing).
    state_ = State::crashed;
    crash_ = std::move(end.reason);
    log::error("the guest has crashed and stands still; 'aerate stop --kill {}' ends it. {}", config_.name, crash_);
    for (const auto& vcpu : hardware_->vcpus)
        vcpu->pause();
    refuse_waiting("the guest has crashed: " + crash_);
}

void Machine::refuse_waiting(const std::string& why) {
    for (auto& answer : std::exchange(waiting_for_pause_, {}))
        answer(conflict(why));
    if (auto done = std::exchange(waiting_for_sweep_, nullptr))
        done(fail("{}", why));
    if (auto answer = std::exchange(waiting_for_squeeze_, std::nullopt))
        (*answer)(conflict(why));
    if (auto held = std::exchange(waiting_for_hold_, std::nullopt))
        (*held)(fail("{}", why));
}

void Machine::shut_down(Outcome outcome) {
    if (state_ == State::ending) {
        // Who wants the VM gone while its guest resets does not want the next one either.
        if (outcome == Outcome::killed)
            outcome_ = Outcome::killed;
        return;
    }
    const bool vcpus_run = hardware_ != nullptr && state_ != State::expecting;
    state_ = State::ending;
    outcome_ = outcome;
    refuse_waiting("the VM is ending");
    vcpus_left_ = 0;
    if (!vcpus_run)
        return options_.ended(outcome_);
    for (const auto& vcpu : hardware_->vcpus)
        vcpu->stop();
}

void Machine::vcpu_left() {
    if (++vcpus_left_ < hardware_->vcpus.size())
        return;
    end();
}

void Machine::end() {
    // Who copies the guest still reads its memory; it comes back here when it has let go.
    if (!operations_.busy().empty())
        return operations_.cancel();
    if (hardware_ && vcpus_left_ < hardware_->vcpus.size())
        return;
    // By way of the balloon's thread: what it was asked before is answered first.
    hardware_->balloon_thread.loop().post([this, alive = std::weak_ptr(alive_)] {
        loop_.post([this, alive] {
            if (!alive.expired())
                options_.ended(outcome_);
        });
    });
}

} // namespace aerate
