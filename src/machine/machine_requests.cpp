// The requests of the API: what each comes to, and whom it is handed to.
#include "base/overloaded.hpp"
#include "control/configuration.hpp"
#include "machine/machine.hpp"
#include "machine/restore.hpp"
#include "machine/vm_counters.hpp"

#include <unistd.h>

#include <utility>
#include <variant>

namespace aerate {

using control::conflict;

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

/// The configuration comes with the snapshot, all but the name.
void Machine::load_snapshot(const control::LoadSnapshot& load, control::Server::Answer answer) {
    const auto restored = [&]() -> Result<> {
        auto opened = TRY(open_snapshot(load));
        auto guest = TRY(saved_guest(opened));
        opened.config.name = config_.name;
        config_ = std::move(opened.config);
        return start(std::move(guest), !load.resume);
    }();
    if (!restored)
        return answer(control::Failure{400, restored.error().message});
    answer(control::Done{});
}

} // namespace aerate
