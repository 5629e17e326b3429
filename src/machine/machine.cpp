#include "machine/machine.hpp"

#include "base/log.hpp"
#include "base/overloaded.hpp"
#include "control/configuration.hpp"
#include "machine/vm_counters.hpp"

#include <unistd.h>

#include <utility>
#include <variant>

namespace aerate {

using control::conflict;

Machine::Machine(EventLoop& loop, control::VmConfig config, Options options)
    : loop_(loop)
    , config_(std::move(config))
    , options_(std::move(options))
    , operations_(loop,
                  {.hold = [this](LiveGuest::Held held) { hold(std::move(held)); },
                   .release = [this] { release(); },
                   .moved = [this] { shut_down(Outcome::moved); },
                   .throttle = [this](unsigned percent) { throttle(percent); }},
                  [this] { operation_ended(); }) {}

control::VmState Machine::api_state() const {
    switch (state_) {
    case State::not_started:
    case State::expecting:
        return control::VmState::not_started;
    case State::crashed:
        return control::VmState::crashed;
    case State::running:
    case State::coming_to_rest:
    case State::at_rest:
    case State::ending:
        break;
    }
    // A sweep's short holds are no pause.
    return pause_wanted_ ? control::VmState::paused : control::VmState::running;
}

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

void Machine::handle(const control::Request& request, control::Server::Answer answer) {
    if (awaited_ && !std::holds_alternative<control::GetStatus>(request) &&
        !std::holds_alternative<control::GetMetrics>(request))
        return answer(conflict("the guest is still on its way here"));
    if (auto reply = control::configure(config_, api_state(), request))
        return answer(std::move(*reply));
    if (state_ == State::ending && !std::holds_alternative<control::GetStatus>(request))
        return answer(conflict("the VM is ending"));
    carry_out(request, std::move(answer));
}

void Machine::carry_out(const control::Request& request, control::Server::Answer answer) {
    std::visit(Overloaded{
                   [&](const control::InstanceStart&) {
                       if (auto started = start(); !started)
                           answer(control::Failure{400, std::move(started).error().message});
                       else
                           answer(control::Done{});
                   },
                   [&](const control::SendCtrlAltDel&) {
                       hardware_->power->press_power_button();
                       answer(control::Done{});
                   },
                   [&](const control::Stop& stop) {
                       // The answer goes first: ending the last vCPU ends the process.
                       answer(control::Done{});
                       if (stop.how == control::Stop::How::kill || !hardware_)
                           kill();
                       else
                           hardware_->power->press_power_button();
                   },
                   [&](const control::SetPaused& set) {
                       if (set.paused)
                           pause(std::move(answer));
                       else
                           resume(set.force, std::move(answer));
                   },
                   [&](const control::PatchBalloon& patch) { set_balloon_target(patch.target, std::move(answer)); },
                   [&](const control::PatchBalloonStatistics& patch) {
                       config_.balloon->stats_polling_interval = patch.polling_interval;
                       on_balloon_thread(std::move(answer), [interval = patch.polling_interval](Hardware& hardware) {
                           hardware.balloon->statistics().set_interval(interval);
                           return control::Done{};
                       });
                   },
                   [&](const control::StartHinting& start) { start_hinting(start, std::move(answer)); },
                   [&](const control::Sweep&) { sweep(std::move(answer)); },
                   [&](const control::Migrate& wish) { migrate(wish, std::move(answer)); },
                   [&](const control::GetMigration&) { answer(operations_.migration()); },
                   [&](const control::CancelMigration&) {
                       operations_.cancel();
                       answer(control::Done{});
                   },
                   [&](const control::Squeeze& wish) { squeeze(wish.keep, std::move(answer)); },
                   [&](const control::LoadSnapshot& load) { load_snapshot(load, std::move(answer)); },
                   [&](const control::TakeSnapshot& take) { take_snapshot(take, std::move(answer)); },
                   [&](const control::StopHinting&) {
                       if (auto refusal = refuse_copy())
                           return answer(std::move(*refusal));
                       on_balloon_thread(std::move(answer), [](Hardware& hardware) {
                           hardware.balloon->hinting().done();
                           return control::Done{};
                       });
                   },
                   [&](const control::GetHintingStatus&) {
                       on_balloon_thread(std::move(answer), [](Hardware& hardware) {
                           const auto status = hardware.balloon->hinting().status();
                           return control::HintingStatus{status.host_command, status.guest_command};
                       });
                   },
                   [&](const control::GetBalloonStatistics&) {
                       report_status([answer = std::move(answer)](control::VmStatus status) mutable {
                           answer(std::move(status.balloon).value_or(control::BalloonStatus{}));
                       });
                   },
                   [&](const control::GetStatus&) {
                       report_status([answer = std::move(answer)](control::VmStatus status) mutable {
                           answer(std::move(status));
                       });
                   },
                   [&](const control::GetMetrics&) {
                       report_status([answer = std::move(answer)](control::VmStatus status) mutable {
                           answer(control::Metrics{std::move(status)});
                       });
                   },
                   // configure() has answered these.
                   [&](const auto&) { answer(control::Failure{500, "not handled"}); },
               },
               request);
}

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

template <typename F>
void Machine::on_balloon_thread(control::Server::Answer answer, F f) {
    hardware_->balloon_thread.loop().post([this, answer = std::move(answer), f = std::move(f)]() mutable {
        control::Reply reply = f(*hardware_);
        loop_.post([answer = std::move(answer), reply = std::move(reply)]() mutable { answer(std::move(reply)); });
    });
}

void Machine::set_balloon_target(ByteCount target, control::Server::Answer answer) {
    if (waiting_for_sweep_ || waiting_for_squeeze_) // they move the target, and put it back
        return answer(conflict("a sweep or a squeeze is under way, and ends by itself: try again"));
    config_.balloon->target = target;
    on_balloon_thread(std::move(answer), [target](Hardware& hardware) -> control::Reply {
        if (auto set = hardware.balloon->set_target(whole_pages_of(target)); !set)
            return control::Failure{400, std::move(set).error().message};
        return control::Done{};
    });
}

void Machine::start_hinting(control::StartHinting start, control::Server::Answer answer) {
    if (auto refusal = refuse_copy()) // they use hinting
        return answer(std::move(*refusal));
    const auto on_stop = start.acknowledge_on_stop ? balloon::OnGuestStop::done : balloon::OnGuestStop::hold;
    on_balloon_thread(std::move(answer), [on_stop](Hardware& hardware) -> control::Reply {
        hardware.counted_hints.clear();
        if (hardware.balloon->hinting().start(hardware.counted_hints, on_stop).value == 0)
            return conflict(
                "the guest does not take part in hinting: its virtio_balloon driver is not loaded, or did not "
                "accept the feature");
        return control::Done{};
    });
}

void Machine::report_status(std::move_only_function<void(control::VmStatus)> report) {
    control::VmStatus status;
    status.name = config_.name;
    status.pid = getpid();
    status.state = api_state();
    status.vcpu_count = config_.machine.vcpu_count;
    status.memory.guest_size = config_.machine.mem_size;
    if (!hardware_ || state_ == State::expecting) // whose balloon thread does not answer yet
        return report(std::move(status));
    status.uptime = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - started_);
    add_main_loop_counters(status, *hardware_);
    // The balloon's numbers are its thread's. Walking the page tables for the resident size is done there too.
    hardware_->balloon_thread.loop().post([this, status = std::move(status), report = std::move(report)]() mutable {
        add_memory_and_balloon(status, *hardware_);
        loop_.post([status = std::move(status), report = std::move(report)]() mutable { report(std::move(status)); });
    });
}

} // namespace aerate
