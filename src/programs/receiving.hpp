// Waits for a guest to arrive by migration. Main loop; whoever connects is heard on a thread of their own, so that a
// stranger who says nothing holds up nobody, and the first who has a guest is the one whose guest is received.
#pragma once

#include "event/event_loop.hpp"
#include "machine/arrival.hpp"
#include "migration/destination.hpp"
#include "migration/endpoint.hpp"
#include "migration/lease.hpp"
#include "migration/tls.hpp"
#include "programs/progress.hpp"

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace aerate {

struct ReceiveOptions {
    migration::Endpoint endpoint;
    std::string name;                ///< empty: the guest keeps its own
    std::vector<std::string> drives; ///< ID=PATH
    std::string lease_path;          ///< empty: none
    migration::Protection protection;
};

/// `ID=PATH` for each drive that has its image elsewhere here.
[[nodiscard]] Result<> replace_drives(control::VmConfig&, const std::vector<std::string>&);

class Receiving {
public:
    struct Callbacks {
        std::function<Result<GuestMemory*>(const control::VmConfig&, GuestMemory)> assemble; ///< makes the machine
        std::function<Result<>(const state::SavedVm&)> load; ///< the guest into it, paused
        std::function<void()> run;
        std::function<void()> discard;   ///< the machine, if it was made
        std::function<void()> cancelled; ///< after cancel()
    };

    [[nodiscard]] static Result<std::unique_ptr<Receiving>> start(EventLoop&, const ReceiveOptions&, Callbacks);
    /// REQUIRES: no guest is on its way.
    ~Receiving();
    Receiving(const Receiving&) = delete;
    Receiving& operator=(const Receiving&) = delete;

    /// Refuses the guest that is on its way, and says so to `cancelled`. False: none is, and none is taken any more.
    bool cancel();

private:
    Receiving(EventLoop& loop, ReceiveOptions options, migration::Listener listener,
              std::optional<migration::FileLease> lease, std::unique_ptr<const migration::Tls> tls,
              Callbacks callbacks);
    struct Visitor;
    void wait();
    void accept();
    void receive(FileDescriptor socket);
    void make_room(Visitor& oldest);
    [[nodiscard]] Result<> claim(Visitor&);
    void coming(const control::VmConfig&);
    void show_progress();
    void ended(Visitor&, const Result<migration::DestinationReport>&);

    EventLoop& loop_;
    ReceiveOptions options_;
    std::optional<migration::Listener> listener_;
    std::optional<migration::FileLease> lease_;
    std::unique_ptr<const migration::Tls> tls_;
    Callbacks callbacks_;
    Subscription connections_;

    std::mutex mutex_;         ///< for these two
    Visitor* guest_ = nullptr; ///< whose guest is on its way
    bool cancelled_ = false;

    std::string name_; ///< of that guest here
    std::optional<ProgressLine> line_;
    Subscription line_timer_;
    std::chrono::steady_clock::time_point began_;
    std::chrono::steady_clock::time_point shown_at_;
    migration::DestinationProgress shown_;
    std::vector<std::unique_ptr<Visitor>> visitors_;
};

} // namespace aerate
