// A virtual machine as its operator sees it: configured, started, paused, ended. Carries out the requests of the API.
//
// Lives on the main loop, which it never blocks: pausing, statistics and the end of the guest are answered when they
// have happened. Assembling is Hardware's.
//
//     machine.cpp           its life, from the first instruction here to the last
//     machine_requests.cpp  what the API asks
//     machine_rest.cpp      the guest comes to rest and goes on
//     machine_copies.cpp    sweeps, squeezes, snapshots, migrations
#pragma once

#include "control/request.hpp"
#include "control/server.hpp"
#include "machine/hardware.hpp"
#include "machine/operations.hpp"

#include <chrono>
#include <cstdint>
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
        /// Once; every vCPU thread has left and every request that was carried out is answered: the loop may stop.
        std::function<void(Outcome)> ended;
        /// Before the first instruction: for tests that hold a device still.
        std::function<void(Hardware&)> assembled = {};
    };

    Machine(EventLoop& loop, control::VmConfig config, Options options);

    /// Assembles and runs the VM. REQUIRES: the configuration has a boot source.
    [[nodiscard]] Result<> start();
    /// The same with a guest that has run before; `paused`: it waits to be resumed.
    [[nodiscard]] Result<> start(SavedGuest, bool paused);
    /// A Request of the API, or of whoever has it.
    void handle(const control::Request&, control::Server::Answer);
    /// Makes all for a guest that is on its way, and tells where its memory is. Until go(), requests but for the
    /// status are refused.
    [[nodiscard]] Result<GuestMemory*> expect(GuestMemory);
    /// The guest's memory is here. It stands still until go(), and nobody but whoever calls that can make it run.
    /// REQUIRES: expect() succeeded.
    [[nodiscard]] Result<> arrive(const state::SavedVm&);
    void go();
    /// The guest has reset itself: this machine answers nothing any more, the next one will.
    [[nodiscard]] bool resetting() const { return state_ == State::ending && outcome_ == Outcome::reset; }
    /// Ends the guest at once.
    void kill() { shut_down(Outcome::killed); }

    [[nodiscard]] const control::VmConfig& config() const { return config_; }

private:
    enum class State : std::uint8_t { not_started, expecting, running, coming_to_rest, at_rest, crashed, ending };

    // Its life.
    Result<> assemble(std::optional<ArrivingMemory>);
    Result<> boot();
    Result<> restore(const SavedGuest&, bool paused);
    /// What was assembled in vain goes: locks and all.
    Result<> or_nothing(Result<>);
    void stand_still(bool paused);
    void guest_ended(GuestEnd);
    void refuse_waiting(const std::string& why);
    void shut_down(Outcome);
    void vcpu_left();
    void end();

    // What the API asks.
    [[nodiscard]] control::VmState api_state() const;
    void carry_out(const control::Request&, control::Server::Answer);
    template <typename F>
    void on_balloon_thread(control::Server::Answer, F);
    void set_balloon_target(ByteCount, control::Server::Answer);
    void start_hinting(control::StartHinting, control::Server::Answer);
    void report_status(std::move_only_function<void(control::VmStatus)>);
    void load_snapshot(const control::LoadSnapshot&, control::Server::Answer);

    // The guest comes to rest and goes on.
    void pause(control::Server::Answer);
    void resume(bool force, control::Server::Answer);
    void come_to_rest();
    void count_down_to_rest();
    void rests();
    void go_on();
    void hold(LiveGuest::Held);
    void release();
    void hold_for_sweep();
    void release_from_sweep();
    void throttle(unsigned percent);

    // Its memory, while it runs.
    [[nodiscard]] std::optional<control::Failure> refuse_copy() const;
    void take_snapshot(control::TakeSnapshot, control::Server::Answer);
    void migrate(const control::Migrate&, control::Server::Answer);
    /// Now, or after a sweep.
    void copy(bool sweep, control::Server::Answer, std::move_only_function<void(control::Server::Answer)> begin);
    void operation_ended();
    void sweep(control::Server::Answer);
    void give_back_idle_memory(IdleMemory::Hints, IdleMemory::Done);
    void squeeze(ByteCount keep, control::Server::Answer);

    EventLoop& loop_;
    control::VmConfig config_;
    Options options_;
    State state_ = State::not_started;
    std::chrono::steady_clock::time_point started_;
    bool awaited_ = false;      ///< between expect() and go(): the guest is another monitor's
    bool pause_wanted_ = false; ///< by the operator
    bool hold_wanted_ = false;  ///< by the sweeper
    bool held_ = false;         ///< by a snapshot or a migration
    bool given_away_ = false;   ///< to a destination that did not answer
    std::optional<LiveGuest::Held> waiting_for_hold_;
    std::vector<control::Server::Answer> waiting_for_pause_;
    IdleMemory::Done waiting_for_sweep_;
    std::optional<control::Server::Answer> waiting_for_squeeze_;
    Subscription throttle_;
    std::size_t still_moving_ = 0; ///< devices, then vCPUs, that have not come to rest yet
    bool devices_rest_ = false;
    std::chrono::steady_clock::time_point vcpus_rest_since_;
    std::size_t vcpus_left_ = 0;
    Outcome outcome_ = Outcome::power_off;
    std::string crash_; ///< why
    /// The loop outlives a machine: what may still be posted when the machine is gone looks here first.
    std::shared_ptr<const int> alive_ = std::make_shared<const int>();
    std::unique_ptr<Hardware> hardware_;
    Operations operations_;
};

} // namespace aerate
