// A virtual machine as its operator sees it: configured, started, paused, ended. Carries out the requests of the API.
//
// Lives on the main loop, which it never blocks: pausing, statistics and the end of the guest are answered when they
// have happened. Assembling is Hardware's.
//
//     machine.cpp           its life, from the first instruction here to the last
//     machine_requests.cpp  what the API asks
//     machine_rest.cpp      the guest comes to rest and goes on
//     machine_policy.cpp    what the host's memory policy asks and hears
//     machine_copies.cpp    sweeps, squeezes, snapshots, migrations
//     machine_drives.cpp    a drive gets another image
#pragma once

#include "confine/paths.hpp"
#include "control/request.hpp"
#include "control/server.hpp"
#include "control/vm_event.hpp"
#include "event/background_task.hpp"
#include "machine/freezer.hpp"
#include "machine/hardware.hpp"
#include "machine/monitor_files.hpp"
#include "machine/operations.hpp"
#include "machine/snapshot_load.hpp"
#include "mmds/server.hpp"
#include "mmds/store.hpp"

#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace aerate {

/// How the guest's life ended here.
enum class Outcome : std::uint8_t { power_off, reset, killed, moved };

class Machine {
public:
    struct Options {
        ConsoleOptions console;
        /// The files that the VM has from before its reset; null: those that its configuration names, from start() on.
        std::shared_ptr<HostFiles> files = {};
        std::shared_ptr<MetricsFile> metrics = std::make_shared<MetricsFile>();
        std::shared_ptr<control::EventFeed> events = std::make_shared<control::EventFeed>();
        std::shared_ptr<mmds::Store> metadata = std::make_shared<mmds::Store>();
        /// Called once, when every vCPU thread has left and every request is answered: the loop may stop.
        std::function<void(Outcome)> ended;
        /// Called before the first instruction: for tests that hold a device still.
        std::function<void(Hardware&)> assembled = {};
        std::chrono::milliseconds rest_limit = Freezer::limit;
        /// What this process may open when the guest runs, besides what the configuration names; nothing: anything.
        std::optional<std::vector<confine::Place>> places = {};
        bool boot_timer = false; ///< the guest may tell that it has booted, and the log says how long that took
    };

    Machine(EventLoop& loop, control::VmConfig config, Options options);

    /// Assembles and runs the VM. REQUIRES: the configuration has a boot source.
    [[nodiscard]] Result<> start();
    /// Assembles the VM and lets a guest that has run before go on in it; `paused`: once it is resumed.
    [[nodiscard]] Result<> start(SavedGuest, bool paused);
    /// Assembles and runs the VM for a guest that has reset itself. When the host refuses what that takes the VM stays,
    /// with its files and without a guest: crashed, with the reason, until it is ended.
    void begin_again();
    /// Carries out a request of the API, or of the program around it, and answers when that has happened.
    void handle(const control::Request&, control::Server::Answer);
    /// Makes all for a guest that is on its way, and tells where its memory is. Until go(), requests but for the
    /// status are refused.
    [[nodiscard]] Result<GuestMemory*> expect(GuestMemory, std::shared_ptr<HostFiles>);
    /// Takes a guest whose memory is here. It is stopped until go(), which alone can make it run.
    /// REQUIRES: expect() succeeded.
    [[nodiscard]] Result<> arrive(const state::SavedVm&);
    void go();
    /// Returns whether the guest has reset itself: this machine no longer answers, the next one will.
    [[nodiscard]] bool resetting() const { return state_ == State::ending && outcome_ == Outcome::reset; }
    /// Ends the guest at once.
    void kill() { shut_down(Outcome::killed); }

    [[nodiscard]] const control::VmConfig& config() const { return config_; }
    [[nodiscard]] const std::shared_ptr<HostFiles>& files() const { return options_.files; }
    [[nodiscard]] const ConsoleOptions& console() const { return options_.console; }

private:
    /// Whether its guest runs is the freezer's to say.
    enum class State : std::uint8_t {
        not_started,
        expecting,
        started,
        not_started_again, ///< its guest's reset came to nothing: there is no hardware
        ending,
    };

    // Its life.
    Result<> assemble(std::optional<GuestMemory>);
    struct Moment {
        std::chrono::steady_clock::time_point wall = std::chrono::steady_clock::now();
        std::clock_t cpu = std::clock(); ///< of the whole process, in microseconds (POSIX)
    };
    Result<> boot(const Moment& begun);
    void add_boot_timer(const Moment& begun);
    Result<> restore(const SavedGuest&, bool paused);
    /// Gives up what this process needed to open files and devices: see confine/confinement.hpp. Once.
    Result<> confine_process();
    Result<> watch_memory(std::string snapshot_path);
    /// Undoes assemble() if the result is an error, and closes the files, which releases their locks.
    Result<> undo_on_failure(Result<>);
    void guest_ended(GuestEnd);
    void guest_panicked();
    /// Refuses those who wait: no sweep, squeeze or hold can complete any longer.
    void refuse_waiting(const std::string& why);
    void shut_down(Outcome);
    void vcpu_left();
    void end();
    /// Calls what is given on the balloon's thread, on the network's, if there is one, and then here.
    void through_device_threads(EventLoop::Callback on_balloon_thread, EventLoop::Callback then,
                                EventLoop::Callback on_net_thread = {});

    // What the API asks.
    [[nodiscard]] control::VmState api_state() const;
    /// What devices wait for; empty: nothing.
    [[nodiscard]] std::string troubles() const;
    /// Why it is not carried out now, whatever it is.
    [[nodiscard]] std::optional<control::Failure> refuse(const control::Request&) const;
    [[nodiscard]] bool crashed() const { return freezer_.has_crashed() || state_ == State::not_started_again; }
    void carry_out(const control::Request&, control::Server::Answer);
    /// Answers with what is done on the balloon's thread.
    void on_balloon_thread(control::Server::Answer, std::move_only_function<control::Reply(Hardware&)>);
    void change_limits(const control::DriveUpdate&, control::Server::Answer);
    void change_limits(const control::NetworkInterfaceUpdate&, control::Server::Answer);
    void set_balloon_target(ByteCount, control::Server::Answer);
    /// Why the balloon's target is nobody's to set now.
    [[nodiscard]] std::optional<control::Failure> target_is_in_use() const;
    void start_hinting(control::StartHinting, control::Server::Answer);
    void report_status(std::move_only_function<void(control::VmStatus)>);
    void load_snapshot(const control::LoadSnapshot&, control::Server::Answer);
    void cancel_load(const std::string& why);
    Result<> become(Result<SnapshotLoad::Loaded>, bool paused);
    [[nodiscard]] Result<> open_metrics(const control::MetricsConfig&);
    [[nodiscard]] Result<> open_serial(const control::SerialConfig&);
    void write_metrics_later();
    void change_drive(const control::DriveUpdate&, control::Server::Answer);
    using Image = std::shared_ptr<const DiskImage>;
    void change_image(const control::DriveUpdate&, std::string path, Image, control::Server::Answer);
    [[nodiscard]] Result<> change_image_at_rest(const std::string& drive_id, std::string path, Image);
    void give_up_opening(const std::string& why);

    // What the host's memory policy asks and hears.
    void permit(const control::PutPermit&, control::Server::Answer);
    void report_pulse(control::Server::Answer);
    void report_memory_map(control::Server::Answer);
    void report_events(control::Server::Answer);
    [[nodiscard]] std::string state_reason() const;
    /// Tells those who listen, if the state is another than they know.
    void tell_state();
    void tell(const BalloonNews&);

    // The guest comes to rest and goes on.
    [[nodiscard]] Freezer::Guest parts();
    [[nodiscard]] Result<> keep_clock();
    [[nodiscard]] Result<> begin_at_rest(Freezer::Claimant);
    /// Returns whether the guest is here, but another monitor's until go().
    [[nodiscard]] bool awaited() const;
    /// Returns whether the guest was given to a destination that did not answer.
    [[nodiscard]] bool given_away() const { return freezer_.holds(Freezer::Claimant::outgoing); }
    /// Returns whether the operator has paused the guest, whether it is paused or still coming to rest.
    [[nodiscard]] bool pausing_or_paused() const;
    void pause(control::Server::Answer);
    void pause_for(std::chrono::milliseconds, control::Server::Answer);
    void hold_paused(control::Server::Answer);
    void resume(bool force, control::Server::Answer);
    void end_reclaim(std::move_only_function<void()> then);
    [[nodiscard]] Sweeper::Guest held_for_sweeps();
    void hold_for_sweep();
    void release_from_sweep();
    void throttle(unsigned percent);

    // Its memory, while it runs.
    [[nodiscard]] std::optional<control::Failure> refuse_copy() const;
    void take_snapshot(control::TakeSnapshot, control::Server::Answer);
    void migrate(const control::Migrate&, control::Server::Answer);
    /// Begins a copy now, or after a sweep.
    void copy(bool sweep, control::Server::Answer, std::move_only_function<void(control::Server::Answer)> begin);
    void sweep_and_copy(control::Server::Answer, std::move_only_function<void(control::Server::Answer)> begin);
    [[nodiscard]] std::unique_ptr<LiveGuest> live_guest(LiveGuest::Purpose);
    /// Cancels a copy, also one that waits for the guest to come to rest.
    void cancel_copy(std::string why = {});
    void operation_ended();
    void sweep(control::Server::Answer);
    void give_back_idle_memory(IdleMemory::Hints, IdleMemory::Done);
    void squeeze(ByteCount keep, control::Server::Answer);

    EventLoop& loop_;
    control::VmConfig config_;
    Options options_;
    State state_ = State::not_started;
    std::chrono::steady_clock::time_point started_;
    IdleMemory::Done waiting_for_sweep_;
    std::optional<control::Server::Answer> waiting_for_squeeze_;
    std::optional<control::Server::Answer> waiting_for_load_;
    std::unique_ptr<SnapshotLoad> loading_; ///< there while it is waited for
    Subscription throttle_;
    Subscription pause_lapses_; ///< active: the operator's claim is one that ends by itself
    Subscription metrics_timer_;
    bool changes_drive_ = false; ///< or opens the image, or waits for the guest to come to rest for it
    std::optional<control::Server::Answer> waiting_for_image_;
    std::unique_ptr<BackgroundTask<Result<Image>>> opening_image_; ///< there while it is waited for
    std::size_t vcpus_left_ = 0;
    Outcome outcome_ = Outcome::power_off;
    control::StateEvent told_state_;
    std::string crash_;         ///< why
    bool panicked_ = false;     ///< the guest's kernel says so; it may still reset itself
    std::string snapshot_path_; ///< that the guest's memory comes from
    /// The loop outlives a machine: what may still be posted when the machine is gone looks here first.
    std::shared_ptr<const int> alive_ = std::make_shared<const int>();
    std::unique_ptr<Hardware> hardware_;
    std::optional<ConsoleOptions> given_console_;   ///< that a PUT /serial has replaced
    std::unique_ptr<mmds::Server> metadata_server_; ///< there when the guest is, if it is configured
    Subscription memory_loss_;                      ///< of a descriptor of the hardware's memory
    Freezer freezer_;
    Operations operations_;
};

} // namespace aerate
