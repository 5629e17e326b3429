// A virtual machine as its operator sees it: configured, started, paused, ended. Carries out the requests of the API.
//
// Lives on the main loop, which it never blocks: pausing, statistics and the end of the guest are answered when they
// have happened. Assembling is Hardware's.
#pragma once

#include "control/request.hpp"
#include "control/server.hpp"
#include "machine/hardware.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace aerate {

/// How the guest's life ended.
enum class Outcome : std::uint8_t { power_off, reset, killed };

class Machine {
public:
    struct Options {
        ConsoleOptions console;
        std::function<void(Outcome)> ended; ///< once; every vCPU thread has left, the loop may stop
    };

    Machine(EventLoop& loop, control::VmConfig config, Options options);

    /// Assembles and runs the VM. REQUIRES: the configuration has a boot source.
    [[nodiscard]] Result<> start();
    /// A Request of the API, or of whoever has it.
    void handle(const control::Request&, control::Server::Answer);
    /// Ends the guest at once.
    void kill() { shut_down(Outcome::killed); }

    [[nodiscard]] const control::VmConfig& config() const { return config_; }

private:
    enum class State : std::uint8_t { not_started, running, pausing, paused, crashed, ending };

    void carry_out(const control::Request&, control::Server::Answer);
    void set_paused(bool paused, control::Server::Answer);
    void pause(control::Server::Answer);
    void resume();
    void count_down_to_paused();
    void guest_ended(GuestEnd);
    void shut_down(Outcome);
    void vcpu_left();
    void set_balloon_target(ByteCount, control::Server::Answer);
    void start_hinting(control::StartHinting, control::Server::Answer);
    template <typename F>
    void on_balloon_thread(control::Server::Answer, F);
    void report_status(std::move_only_function<void(control::VmStatus)>);

    [[nodiscard]] control::VmState api_state() const;

    EventLoop& loop_;
    control::VmConfig config_;
    Options options_;
    State state_ = State::not_started;
    std::chrono::steady_clock::time_point started_;
    std::vector<control::Server::Answer> waiting_for_pause_;
    std::size_t still_moving_ = 0; ///< devices, then vCPUs, that have not come to rest yet
    bool devices_rest_ = false;
    std::size_t vcpus_left_ = 0;
    Outcome outcome_ = Outcome::power_off;
    std::string crash_; ///< why
    std::unique_ptr<Hardware> hardware_;
};

} // namespace aerate
