// Runs a VM over the resets of its guest: a reset makes a new machine, so that what the guest had given back or taken
// is forgotten with it. The API server and its connections outlive each machine: a caller sees no reset.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "control/server.hpp"
#include "event/event_loop.hpp"
#include "machine/machine.hpp"
#include "programs/receiving.hpp"
#include "programs/run.hpp"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace aerate {

class VmProcess {
public:
    /// `signals` is what signals_to_end() returned.
    VmProcess(RunOptions options, const FileDescriptor& signals)
        : options_(std::move(options))
        , signals_(signals) {}

    /// Returns 0 unless this process waited for a guest in vain.
    [[nodiscard]] int exit_code() const;
    /// Returns when the VM has ended. Fails if it cannot begin.
    [[nodiscard]] Result<> run();

private:
    void handle_signal();
    Result<> begin();
    Result<> open_monitor_files();
    Result<> serve();
    Result<> serve_console();
    /// Returns what this process opens when its guest runs, besides what the configuration names.
    [[nodiscard]] std::optional<std::vector<confine::Place>> places() const;
    /// Takes them away: another guest will be there, or none.
    void hang_up();
    void handle(control::Request request, control::Server::Answer answer);
    Result<> receive();
    Result<GuestMemory*> make_machine(const ForeignConfig::Settled& settled, GuestMemory memory);
    /// Discards a guest that was here and must not run: this process waits for the next one.
    void discard();
    void discarded();
    void stop();
    /// Ends this process, by ending the guest if there is one.
    void quit();
    void end(Outcome how);
    /// Makes a new machine. The files are the VM's, and go from machine to machine.
    void replace_machine(std::shared_ptr<HostFiles> files);

    RunOptions options_;
    std::shared_ptr<control::EventFeed> events_ = std::make_shared<control::EventFeed>();
    std::shared_ptr<MetricsFile> metrics_ = std::make_shared<MetricsFile>();
    const FileDescriptor& signals_;
    EventLoop loop_;
    std::optional<UnixListener> console_listener_;
    ConsoleOptions console_; ///< opened once
    Subscription ending_;
    Subscription started_;
    Outcome outcome_ = Outcome::killed;
    std::optional<Machine> machine_;
    std::optional<control::Server> server_;
    bool discarding_ = false; ///< the machine ends, and this process does not
    bool cancelled_ = false;  ///< but this process does, after that
    std::unique_ptr<Receiving> receiving_;
    std::vector<std::pair<control::Request, control::Server::Answer>> waiting_; ///< while the guest resets
};

} // namespace aerate
