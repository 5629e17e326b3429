// The requests of the API: what each comes to, and whom it is handed to.
#include "base/check.hpp"
#include "base/overloaded.hpp"
#include "control/configuration.hpp"
#include "machine/machine.hpp"
#include "machine/restore.hpp"
#include "machine/sandbox_status.hpp"
#include "machine/vm_counters.hpp"
#include "memory/process_memory.hpp"
#include "net/net.hpp"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <variant>

namespace aerate {

using control::conflict;

namespace {

/// As Firecracker's.
constexpr std::chrono::seconds metrics_interval{60};

/// Whether the files that a configuration names are there, and can be used: better said now than at the start.
Result<> check_named_files(const control::Request& request) {
    control::VmConfig named;
    if (const auto* const boot = std::get_if<control::PutBootSource>(&request))
        named.boot = boot->source;
    else if (const auto* const put = std::get_if<control::PutDrive>(&request))
        named.drives = {put->drive};
    else
        return {};
    TRY(HostFiles::open(named));
    return {};
}

control::Reply done(Result<> result) {
    if (!result)
        return control::Failure{400, std::move(result).error().message};
    return control::Done{};
}

control::Reply done(std::expected<void, mmds::Store::Refusal> result) {
    if (!result)
        return control::Failure{result.error().too_large ? 413U : 400U, std::move(result).error().message};
    return control::Done{};
}

} // namespace

control::VmState Machine::api_state() const {
    if (state_ == State::not_started || state_ == State::expecting)
        return control::VmState::not_started;
    if (crashed() || panicked_)
        return control::VmState::crashed;
    // What is: a guest that comes to rest for its operator runs until it has. The short holds of sweeps and copies are
    // no pause.
    const bool paused = freezer_.holds(Freezer::Claimant::pause) || given_away() || awaited();
    if (paused)
        return control::VmState::paused;
    return state_ == State::started && !troubles().empty() ? control::VmState::waiting : control::VmState::running;
}

std::string Machine::troubles() const {
    std::string all;
    if (!hardware_)
        return all;
    for (const VirtioSlot& slot : hardware_->slots)
        if (slot.loop == &loop_) // the balloon waits for no host
            if (const std::string trouble = slot.device->trouble(); !trouble.empty())
                all += (all.empty() ? "" : "; ") + trouble;
    return all;
}

bool Machine::awaited() const {
    return state_ == State::expecting || freezer_.holds(Freezer::Claimant::incoming);
}

bool Machine::pausing_or_paused() const {
    return freezer_.waits(Freezer::Claimant::pause) || freezer_.holds(Freezer::Claimant::pause);
}

std::optional<control::Failure> Machine::refuse(const control::Request& request) const {
    if (std::holds_alternative<control::GetStatus>(request) || std::holds_alternative<control::GetPulse>(request) ||
        std::holds_alternative<control::GetEvents>(request))
        return std::nullopt;
    const bool asks = std::holds_alternative<control::GetMetrics>(request);
    if (awaited() && !asks)
        return conflict("the guest is still on its way here");
    const bool ends = std::holds_alternative<control::Stop>(request);
    if (loading_ && !asks && !ends && !std::holds_alternative<control::GetInstance>(request) &&
        !std::holds_alternative<control::CancelMigration>(request))
        return conflict("a snapshot is being loaded");
    return std::nullopt;
}

void Machine::handle(const control::Request& request, control::Server::Answer answer) {
    CHECK(loop_.owned_here());
    if (auto refusal = refuse(request))
        return answer(std::move(*refusal));
    // Only then is there time for it: a private drive may be cloned, and no guest waits.
    if (state_ == State::not_started)
        if (auto usable = check_named_files(request); !usable)
            return answer(control::Failure{400, std::move(usable).error().message});
    if (auto reply = control::configure(config_, api_state(), request))
        return answer(std::move(*reply));
    const bool asks_little = std::holds_alternative<control::GetStatus>(request) ||
                             std::holds_alternative<control::GetPulse>(request) ||
                             std::holds_alternative<control::GetEvents>(request);
    const bool status = asks_little || std::holds_alternative<control::GetMetrics>(request);
    if (state_ == State::ending && !asks_little)
        return answer(conflict("the VM is ending"));
    if (state_ == State::not_started_again && !status && !std::holds_alternative<control::Stop>(request))
        return answer(conflict("the guest has crashed: " + crash_));
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
                   [&](const control::PutLogger& put) {
                       auto set_up = set_up_log(put.config, config_.name);
                       if (set_up)
                           config_.monitor.logger = put.config;
                       answer(done(std::move(set_up)));
                   },
                   [&](const control::PutMetrics& put) { answer(done(open_metrics(put.config))); },
                   [&](const control::PutMmds& put) { answer(done(options_.metadata->put(put.json))); },
                   [&](const control::PatchMmds& patch) { answer(done(options_.metadata->patch(patch.json))); },
                   [&](const control::GetMmds&) { answer(control::Metadata{options_.metadata->print()}); },
                   [&](const control::PutSerial& put) { answer(done(open_serial(put.config))); },
                   [&](const control::PatchDrive& patch) { change_drive(patch.update, std::move(answer)); },
                   [&](const control::FlushMetrics&) {
                       report_status([answer = std::move(answer),
                                      metrics = options_.metrics](const control::VmStatus& status) mutable {
                           answer(done(metrics->write(status)));
                       });
                   },
                   [&](const control::SendCtrlAltDel&) {
                       // A guest that has no driver for the keyboard has ACPI, and its button.
                       if (!hardware_->keyboard->press_ctrl_alt_del())
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
                       if (set.paused && set.lapse)
                           pause_for(*set.lapse, std::move(answer));
                       else if (set.paused)
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
                   [&](const control::PatchNetworkInterface& patch) { change_limits(patch.update, std::move(answer)); },
                   [&](const control::StartHinting& start) { start_hinting(start, std::move(answer)); },
                   [&](const control::Sweep&) { sweep(std::move(answer)); },
                   [&](const control::Migrate& wish) { migrate(wish, std::move(answer)); },
                   [&](const control::GetMigration&) { answer(operations_.migration()); },
                   [&](const control::CancelMigration&) {
                       cancel_copy();
                       cancel_load("it was cancelled, and the VM is as it was");
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
                   [&](const control::GetPulse&) { report_pulse(std::move(answer)); },
                   [&](const control::GetMemoryMap&) { report_memory_map(std::move(answer)); },
                   [&](const control::GetEvents&) { report_events(std::move(answer)); },
                   [&](const control::PutPermit& put) { permit(put, std::move(answer)); },
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

Result<> Machine::open_metrics(const control::MetricsConfig& config) {
    TRY(options_.metrics->open(config.metrics_path));
    config_.monitor.metrics = config;
    write_metrics_later();
    return {};
}

Result<> Machine::open_serial(const control::SerialConfig& config) {
    if (!given_console_)
        given_console_ = options_.console;
    options_.console = TRY(serial_output(config, *given_console_));
    config_.monitor.serial = config;
    return {};
}

void Machine::write_metrics_later() {
    metrics_timer_ = loop_.after(metrics_interval, [this] {
        write_metrics_later();
        if (hardware_ && state_ == State::started)
            report_status(
                [metrics = options_.metrics](const control::VmStatus& status) { metrics->write_or_warn(status); });
    });
}

void Machine::on_balloon_thread(control::Server::Answer answer, std::move_only_function<control::Reply(Hardware&)> f) {
    hardware_->balloon_thread.loop().post([this, answer = std::move(answer), f = std::move(f)]() mutable {
        control::Reply reply = f(*hardware_);
        loop_.post([answer = std::move(answer), reply = std::move(reply)]() mutable { answer(std::move(reply)); });
    });
}

/// The drive is there: configure() has looked.
void Machine::change_limits(const control::DriveUpdate& change, control::Server::Answer answer) {
    const auto drive = std::ranges::find(config_.drives, change.drive_id, &control::Drive::drive_id);
    const auto slot = std::ranges::find(hardware_->slots, "block:" + change.drive_id, &VirtioSlot::name);
    CHECK(drive != config_.drives.end() && slot != hardware_->slots.end());
    static_cast<Block&>(*slot->device).change_limits(control::limits_of(change.rate_limiter));
    control::update(drive->rate_limiter, change.rate_limiter);
    answer(control::Done{});
}

void Machine::change_limits(const control::NetworkInterfaceUpdate& change, control::Server::Answer answer) {
    auto& all = config_.network_interfaces;
    const auto interface = std::ranges::find(all, change.iface_id, &control::NetworkInterface::iface_id);
    const auto slot = std::ranges::find(hardware_->slots, "net:" + change.iface_id, &VirtioSlot::name);
    CHECK(interface != all.end() && slot != hardware_->slots.end());
    slot->loop->post(
        [&card = static_cast<Net&>(*slot->device), receive = control::limits_of(change.rx_rate_limiter),
         transmit = control::limits_of(change.tx_rate_limiter)] { card.change_limits(receive, transmit); });
    control::update(interface->rx_rate_limiter, change.rx_rate_limiter);
    control::update(interface->tx_rate_limiter, change.tx_rate_limiter);
    answer(control::Done{});
}

void Machine::set_balloon_target(ByteCount target, control::Server::Answer answer) {
    if (auto refusal = target_is_in_use())
        return answer(std::move(*refusal));
    config_.balloon->target = target;
    on_balloon_thread(std::move(answer), [target](Hardware& hardware) -> control::Reply {
        if (auto set = hardware.balloon->set_target(whole_pages_of(target)); !set)
            return control::Failure{400, std::move(set).error().message};
        hardware.care->operator_has_spoken();
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
    status.reason = state_reason();
    status.vcpu_count = config_.machine.vcpu_count;
    status.console = options_.console.kind;
    status.sandbox = sandbox_status();
    status.memory.guest_size = config_.machine.mem_size;
    status.memory_policy = with_floor(config_.memory_policy, config_.machine.mem_size);
    if (!hardware_) // and no guest's memory, whose page tables may be long
        status.memory.monitor_overhead = resident_outside({});
    if (!hardware_ || state_ == State::expecting) // whose balloon thread does not answer so far
        return report(std::move(status));
    status.uptime = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - started_);
    add_main_loop_counters(status, *hardware_);
    status.counters.push_back({"serial_limited_bytes",
                               "Console output dropped for the operator's limit",
                               options_.console.output->dropped_bytes(),
                               {}});
    if (config_.mmds)
        add_metadata_counters(status, *options_.files->metadata_counters());
    // The balloon's numbers are its thread's. Walking the page tables for the resident size is done there too.
    auto shared = std::make_shared<control::VmStatus>(std::move(status));
    through_device_threads([this, shared] { add_memory_and_balloon(*shared, *hardware_); },
                           [shared, report = std::move(report)]() mutable { report(std::move(*shared)); },
                           [this, shared] { add_network_counters(*shared, *hardware_); });
}

/// All of its memory may have to be read, and this loop answers meanwhile. Nothing of the VM changes before all is
/// here.
void Machine::load_snapshot(const control::LoadSnapshot& load, control::Server::Answer answer) {
    auto loading = SnapshotLoad::start(
        loop_, load, config_.name, [this, paused = !load.resume](Result<SnapshotLoad::Loaded> loaded) {
            loading_.reset();
            auto waiting = std::move(*std::exchange(waiting_for_load_, std::nullopt));
            if (auto restored = become(std::move(loaded), paused); !restored)
                return waiting(control::Failure{400, std::move(restored).error().message});
            waiting(control::Done{});
        });
    if (!loading)
        return answer(control::Failure{500, std::move(loading).error().message});
    loading_ = *std::move(loading);
    waiting_for_load_ = std::move(answer);
}

void Machine::cancel_load(const std::string& why) {
    loading_.reset();
    if (auto answer = std::exchange(waiting_for_load_, std::nullopt))
        (*answer)(conflict(why));
}

/// The configuration comes with the snapshot, all but the name. A failure leaves the one that was here: what came from
/// outside must not be what a later start takes for the operator's word.
Result<> Machine::become(Result<SnapshotLoad::Loaded> loaded, bool paused) {
    auto [opened, guest] = TRY(std::move(loaded));
    opened.config.monitor = config_.monitor;
    control::VmConfig before = std::exchange(config_, std::move(opened.config));
    auto started = start(std::move(guest), paused);
    if (!started)
        config_ = std::move(before);
    return started;
}

} // namespace aerate
