#include "machine/machine.hpp"

#include "base/after_start.hpp"
#include "base/check.hpp"
#include "base/log.hpp"
#include "confine/confinement.hpp"
#include "machine/places.hpp"
#include "machine/threads.hpp"
#include "memory/own_maps.hpp"

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <utility>

namespace aerate {

using control::conflict;

namespace {

using Claimant = protocol::Claimant;

/// Returns why a request has come to nothing.
std::string_view meanwhile(Outcome outcome) {
    switch (outcome) {
    case Outcome::power_off:
        return "the guest has powered itself off meanwhile";
    case Outcome::reset:
        return "the guest has reset itself meanwhile";
    case Outcome::killed:
        return "the VM was ended meanwhile";
    case Outcome::moved:
        return "the guest has moved meanwhile";
    }
    return "";
}

/// A guest that has moved makes up for the time that it stood still, which is short: what the two hosts' clocks say is
/// not true otherwise.
ClockAfterRestore after_move(const VmState& saved) {
    constexpr std::chrono::nanoseconds longest = std::chrono::seconds(60);
    const std::chrono::nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
    const std::uint64_t since =
        static_cast<std::uint64_t>(now.count()) - saved.realtime; // any number: it came from there
    return since <= static_cast<std::uint64_t>(longest.count()) ? ClockAfterRestore::catches_up
                                                                : ClockAfterRestore::goes_on;
}

} // namespace

Machine::Machine(EventLoop& loop, control::VmConfig config, Options options)
    : loop_(loop)
    , config_(std::move(config))
    , options_(std::move(options))
    , freezer_(loop, options_.rest_limit)
    , operations_(
          loop, [this](LiveGuest::Purpose purpose) { return live_guest(purpose); }, [this] { operation_ended(); }) {
    if (options_.metrics->is_open())
        write_metrics_later();
    freezer_.on_change([this] { tell_state(); });
}

Result<> Machine::assemble(std::optional<GuestMemory> memory) {
    hardware_ = TRY(Hardware::create(
        config_, *options_.files, options_.console, loop_,
        {.paused = [this](unsigned vcpu, protocol::OrderNumber order) { freezer_.vcpu_rests(vcpu, order); },
         .ended = [this](GuestEnd end) { guest_ended(std::move(end)); },
         .left = [this] { vcpu_left(); },
         .quit = [this] { kill(); },
         .panicked = [this] { guest_panicked(); },
         .balloon_news = [this](const BalloonNews& news) { tell(news); }},
        std::move(memory)));
    hardware_->add_reclaim(held_for_sweeps());
    if (config_.mmds)
        metadata_server_ = TRY(mmds::Server::create(loop_, options_.files->metadata_listeners(), options_.metadata,
                                                    *config_.mmds, options_.files->metadata_counters()));
    if (options_.assembled)
        options_.assembled(*hardware_);
    started_ = std::chrono::steady_clock::now();
    return {};
}

Result<> Machine::undo_on_failure(Result<> result) {
    if (!result) {
        memory_loss_.cancel();
        metadata_server_.reset();
        hardware_.reset();
        options_.files.reset();
    }
    return result;
}

Result<> Machine::start() {
    CHECK(loop_.owned_here());
    const Moment begun;
    if (!options_.files)
        options_.files = TRY(HostFiles::open(config_));
    return undo_on_failure([&]() -> Result<> {
        TRY(assemble(std::nullopt));
        return boot(begun);
    }());
}

void Machine::begin_again() {
    CHECK(loop_.owned_here());
    const auto files = options_.files;
    const auto started = start();
    if (started)
        return;
    options_.files = files; // nobody else takes the disks of a VM that is here
    state_ = State::not_started_again;
    crash_ =
        "the guest has reset itself, and the host refuses what it takes to start it again: " + started.error().message;
    log::error("{}: {}. 'aerate stop {}' ends it", config_.name, crash_, config_.name);
    tell_state();
}

Result<> Machine::boot(const Moment& begun) {
    TRY(hardware_->boot(config_));
    if (options_.boot_timer)
        add_boot_timer(begun);
    TRY(hardware_->attach_console(options_.console));
    TRY(keep_clock());
    TRY(confine_process());
    TRY(hardware_->start_threads());
    state_ = State::started;
    freezer_.begin_running(parts());
    tell_state();
    return {};
}

Result<> Machine::confine_process() {
    if (confine::has_begun())
        keep_own_maps(); // which nobody can open afterwards
    auto places = options_.places;
    if (places) {
        add_places_of(config_, *places);
        if (!snapshot_path_.empty()) // what was recorded of it lies beside it
            places->push_back({std::filesystem::path(snapshot_path_).parent_path(), confine::Access::directory});
    }
    TRY(confine::before_guest(main_thread, places));
    let_go_of_what_starting_took();
    return {};
}

/// The log says it in Firecracker's words, which programs look for.
void Machine::add_boot_timer(const Moment& begun) {
    using std::chrono::duration_cast;
    using std::chrono::microseconds;
    hardware_->add_boot_timer([begun] {
        const Moment now;
        const auto wall = duration_cast<microseconds>(now.wall - begun.wall).count();
        const auto cpu = now.cpu - begun.cpu;
        log::info("Guest-boot-time = {:>6} us {} ms, {:>6} CPU us {} CPU ms", wall, wall / 1000, cpu, cpu / 1000);
    });
}

Result<> Machine::start(SavedGuest saved, bool paused) {
    CHECK(loop_.owned_here());
    options_.files = saved.files;
    return undo_on_failure([&]() -> Result<> {
        TRY(assemble(std::move(saved.memory)));
        TRY(watch_memory(std::move(saved.snapshot_path)));
        return restore(saved, paused);
    }());
}

/// Watches the memory. A guest whose file is cut short has lost pages, also some that it wrote, and one whose file is
/// written to would read what never was in its memory: it runs no further. A process that wants to write waits until
/// the guest has stopped.
Result<> Machine::watch_memory(std::string snapshot_path) {
    snapshot_path_ = std::move(snapshot_path);
    if (const int lost = hardware_->memory.loss_event(); lost >= 0)
        memory_loss_ = TRY(loop_.try_watch(lost, [this, lost] {
            std::uint64_t events = 0;
            (void)!::read(lost, &events, sizeof(events));
            if (!hardware_->memory.lost())
                return;
            guest_ended({.kind = GuestEnd::Kind::crash, .reason = {}});
            hardware_->memory.give_up_files();
            memory_loss_.cancel();
        }));
    return {};
}

Result<> Machine::restore(const SavedGuest& saved, bool paused) {
    DiffBases& bases = hardware_->diff_bases();
    bases.one_file.set_lineage(saved.lineage);
    // Before the devices are restored: what they write into memory is not in the snapshot.
    if (config_.machine.track_dirty_pages && (saved.snapshot || saved.memory_file))
        TRY((saved.memory_file ? bases.two_files : bases.one_file).track(hardware_->memory.address_space()));
    if (saved.memory_file)
        bases.two_files.saved(*saved.memory_file);
    else if (saved.snapshot && config_.machine.track_dirty_pages)
        bases.one_file.saved(*saved.snapshot);
    TRY(hardware_->restore(saved.state, saved.clock));
    // This is a copy, of which there may be others. Interrupt controllers are as they were by now.
    TRY(hardware_->generation->renew());
    hardware_->clock.publish(VmClock::Change::copied);
    hardware_->generation->notify();
    TRY(hardware_->attach_console(options_.console));
    if (saved.record)
        hardware_->working_set = TRY(record_working_set(hardware_->memory, *saved.record));
    else if (!saved.working_set.empty())
        hardware_->working_set = TRY(prefetch(hardware_->memory, saved.working_set));
    TRY(confine_process());
    TRY(begin_at_rest(Claimant::pause));
    if (!paused)
        freezer_.release(Claimant::pause);
    return {};
}

Result<GuestMemory*> Machine::expect(GuestMemory memory, std::shared_ptr<HostFiles> files) {
    CHECK(loop_.owned_here());
    options_.files = std::move(files);
    TRY(assemble(std::move(memory)));
    state_ = State::expecting;
    return &hardware_->memory;
}

Result<> Machine::arrive(const state::SavedVm& saved) {
    CHECK(loop_.owned_here());
    TRY(hardware_->disks_arrive());
    TRY(hardware_->restore(saved, after_move(saved.vm)));
    return begin_at_rest(Claimant::incoming);
}

void Machine::go() {
    CHECK(loop_.owned_here());
    // Not earlier: should the guest not come after all, the next one's files and networks are to be opened. And not
    // with the guest's life at stake, which has no other place any more.
    if (auto confined = confine_process(); !confined)
        log::error("{}: {}", config_.name, confined.error().message);
    hardware_->clock.publish(VmClock::Change::moved);
    // Not earlier: at the console the operator could end a guest that is another monitor's.
    if (auto attached = hardware_->attach_console(options_.console); !attached)
        log::warning("{}: the guest runs without its console: {}", config_.name, attached.error().message);
    hardware_->announce();
    freezer_.release(Claimant::incoming);
}

void Machine::guest_ended(GuestEnd end) {
    if (state_ == State::ending || freezer_.has_crashed())
        return;
    // It shows as an access that KVM cannot do, as a triple fault, or as a reset after the guest's own panic.
    if (end.kind != GuestEnd::Kind::power_off && hardware_->memory.lost())
        end = {
            .kind = GuestEnd::Kind::crash,
            .reason =
                hardware_->memory.lost_its_handler()
                    ? "the page fault handler that supplied the guest's memory has ended"
                    : fmt::format("the snapshot {} (or one that it is a diff of) is being written to, was cut short or "
                                  "cannot be read: the guest's memory is no longer complete",
                                  snapshot_path_)};
    // A guest that loses its way says nothing itself: its console only shows the next boot.
    static log::GuestLogLimit limit;
    if (end.kind == GuestEnd::Kind::reset && !end.reason.empty() && limit.allow())
        log::warning("{}: the guest was reset by a {}", config_.name, end.reason);
    if (end.kind != GuestEnd::Kind::crash)
        return shut_down(end.kind == GuestEnd::Kind::reset ? Outcome::reset : Outcome::power_off);
    // The monitor stays, so that the operator can look (reliability: a guest never ends its monitor by crashing).
    crash_ = std::move(end.reason);
    log::error("the guest has crashed and is stopped; 'aerate stop --kill {}' ends it. {}", config_.name, crash_);
    const std::string why = "the guest has crashed: " + crash_;
    freezer_.crashed(why);
    refuse_waiting(why);
}

/// Lets the vCPUs run on: the kernel may write a dump, and with panic=SECONDS it resets the machine.
void Machine::guest_panicked() {
    if (freezer_.has_crashed())
        return;
    panicked_ = true;
    crash_ = "the guest's kernel has panicked; its console says why";
    static log::GuestLogLimit limit;
    if (limit.allow())
        log::error("{}: {}", config_.name, crash_);
    tell_state();
}

void Machine::refuse_waiting(const std::string& why) {
    if (auto done = std::exchange(waiting_for_sweep_, nullptr))
        done(fail("{}", why));
    if (auto answer = std::exchange(waiting_for_squeeze_, std::nullopt))
        (*answer)(conflict(why));
    cancel_load(why);
    give_up_opening(why);
}

void Machine::shut_down(Outcome outcome) {
    CHECK(loop_.owned_here());
    if (state_ == State::ending) {
        // A request to end the VM while its guest resets is meant for the next machine too.
        if (outcome == Outcome::killed)
            outcome_ = Outcome::killed;
        return;
    }
    const bool vcpus_run = hardware_ != nullptr && state_ != State::expecting;
    state_ = State::ending;
    outcome_ = outcome;
    const std::string why(meanwhile(outcome));
    freezer_.ended(why);
    refuse_waiting(why);
    vcpus_left_ = 0;
    if (!vcpus_run)
        return options_.ended(outcome_);
    hardware_->memory.give_up_handler(); // nobody waits any longer for what it has not supplied
    for (const auto& vcpu : hardware_->vcpus)
        vcpu->stop();
}

void Machine::vcpu_left() {
    if (++vcpus_left_ < hardware_->vcpus.size())
        return;
    end();
}

void Machine::end() {
    // The copy still reads the guest's memory; it comes back here when it has released it.
    if (!operations_.busy().empty())
        return cancel_copy(std::string(meanwhile(outcome_)));
    if (hardware_ && vcpus_left_ < hardware_->vcpus.size())
        return;
    const auto ended = [this, alive = std::weak_ptr(alive_)] {
        if (!alive.expired())
            options_.ended(outcome_);
    };
    if (options_.metrics->is_open())
        return report_status([metrics = options_.metrics, ended](const control::VmStatus& status) {
            metrics->write_or_warn(status);
            ended();
        });
    // What the other threads were asked before is answered first.
    through_device_threads([] {}, ended);
}

void Machine::through_device_threads(EventLoop::Callback on_balloon_thread, EventLoop::Callback then,
                                     EventLoop::Callback on_net_thread) {
    const auto last = [this](EventLoop::Callback f) { loop_.post(std::move(f)); };
    hardware_->balloon_thread.loop().post([this, last, balloon = std::move(on_balloon_thread), then = std::move(then),
                                           net = std::move(on_net_thread)]() mutable {
        balloon();
        if (!hardware_->net_thread.started())
            return last(std::move(then));
        hardware_->net_thread.loop().post([last, then = std::move(then), net = std::move(net)]() mutable {
            if (net)
                net();
            last(std::move(then));
        });
    });
}

} // namespace aerate
