// Waits for a guest to arrive by migration. Main loop; each connection is heard on a thread of its own, so that a
// candidate that says nothing holds no other up, and the first that has a guest is the one whose guest is received. It
// keeps the slot while it makes progress: one that does not loses it to the next that has a guest.
//
// Until a guest is here this is what "aerate ps" shows and "aerate stop" ends, as --name or receive-PID.
#pragma once

#include "control/server.hpp"
#include "event/event_loop.hpp"
#include "machine/incoming_guest.hpp"
#include "migration/destination.hpp"
#include "migration/guest_slot.hpp"
#include "migration/lease.hpp"
#include "migration/link/endpoint.hpp"
#include "migration/link/tls.hpp"
#include "programs/progress.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace aerate {

struct ReceiveOptions {
    migration::Endpoint endpoint;
    std::string address;        ///< as it was typed, for messages
    std::string name;           ///< empty: the guest keeps its own
    control::FileGrants grants; ///< of this host's files that the guest may have
    std::string lease_path;     ///< see etcd::open_lease(); empty: none
    migration::Protection protection;
    ByteCount max_memory;        ///< of the guest
    bool once = false;           ///< a guest that does not arrive is the last
    std::chrono::seconds wait{}; ///< for a guest; 0: for ever
};

class Receiving {
public:
    struct Callbacks {
        std::function<Result<GuestMemory*>(const ForeignConfig::Settled&, GuestMemory)> assemble; ///< makes the machine
        std::function<Result<>(const state::SavedVm&)> load; ///< the guest into it, paused
        std::function<void()> run;
        std::function<void()> discard; ///< the machine, if it was made; see set_busy()
        std::function<void()> gave_up; ///< none will be received: after cancel(), or as the options say
        std::function<void()> stop;    ///< a caller of the API wants the process to end
    };

    [[nodiscard]] static Result<std::unique_ptr<Receiving>> start(EventLoop&, const ReceiveOptions&, Callbacks);
    /// REQUIRES: no guest is on its way.
    ~Receiving();
    Receiving(const Receiving&) = delete;
    Receiving& operator=(const Receiving&) = delete;

    /// Refuses the guest that is on its way, and then calls `gave_up`. False: none is, and no further one is taken.
    bool cancel();
    /// Answers in the guest's place, until it is here: false from then on.
    bool answer(const control::Request&, control::Server::Answer&);
    /// Refuses other guests while the machine of one that did not arrive is being discarded.
    void set_busy(bool busy) { slot_.set_busy(busy); }
    [[nodiscard]] bool arrived() const { return arrived_; }

private:
    Receiving(EventLoop& loop, ReceiveOptions options, migration::Listener listener,
              std::unique_ptr<migration::Lease> lease, std::unique_ptr<const migration::Tls> tls, Callbacks callbacks);
    struct Candidate;
    void wait();
    void wait_again();
    [[nodiscard]] Result<> open_entry();
    void run_out_of_time();
    void give_up();
    void joined();
    void accept();
    void stop_listening();
    void receive(FileDescriptor socket);
    void make_room();
    void guest_announced(Candidate&, const control::VmConfig&);
    void show_progress();
    void ended(Candidate&, const Result<migration::DestinationReport>&);

    EventLoop& loop_;
    ReceiveOptions options_;
    std::optional<migration::Listener> listener_;
    std::unique_ptr<migration::Lease> lease_;
    std::unique_ptr<const migration::Tls> tls_;
    Callbacks callbacks_;
    Subscription connections_; ///< or the pause before one can be accepted again

    migration::GuestSlot slot_;
    Candidate* guest_ = nullptr; ///< on its way, as far as the main loop knows
    bool joining_ = false;       ///< that guest's further streams are
    bool arrived_ = false;
    bool out_of_time_ = false;
    std::optional<control::Server> entry_; ///< while no guest has one
    Subscription wait_timer_;
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
    std::string name_; ///< of that guest here, or of the entry
    ByteCount size_;   ///< of that guest
    std::optional<ProgressLine> line_;
    Subscription line_timer_;
    std::chrono::steady_clock::time_point began_;
    std::chrono::steady_clock::time_point shown_at_;
    migration::DestinationProgress shown_;
    std::vector<std::unique_ptr<Candidate>> candidates_;
};

} // namespace aerate
