// Waits for a guest to arrive by migration. Main loop; what arrives is received on a thread of its own.
#pragma once

#include "event/event_loop.hpp"
#include "machine/arrival.hpp"
#include "migration/destination.hpp"
#include "migration/endpoint.hpp"
#include "migration/lease.hpp"
#include "migration/tls.hpp"

#include <memory>
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
    ~Receiving() = default;
    Receiving(const Receiving&) = delete;
    Receiving& operator=(const Receiving&) = delete;

    /// Refuses the guest that is on its way, and says so to `cancelled`. False: none is.
    bool cancel();

private:
    Receiving(EventLoop& loop, ReceiveOptions options, migration::Listener listener,
              std::optional<migration::FileLease> lease, std::unique_ptr<const migration::Tls> tls,
              Callbacks callbacks);
    void wait();
    void accept();
    void receive(FileDescriptor socket);
    void ended(const Result<migration::DestinationReport>&);

    EventLoop& loop_;
    ReceiveOptions options_;
    std::optional<migration::Listener> listener_;
    std::optional<migration::FileLease> lease_;
    std::unique_ptr<const migration::Tls> tls_;
    Callbacks callbacks_;
    Subscription connections_;
    std::unique_ptr<Arrival> arrival_;
    std::unique_ptr<migration::Destination> destination_;
    bool cancelled_ = false;
    std::jthread thread_;
};

} // namespace aerate
