// The side at which a live migration arrives. Carries out protocol::HandOffDestination on the calling thread.
//
//     Destination destination(accepted_socket, guest, {});
//     auto report = destination.receive();      // the guest runs, or nothing is left of it
//
// What arrives is checked before it is looked at: each frame's sums, session and number, then whether that kind of
// frame may come now (a table: receiver_phase.hpp), then its content. What the peer can make this side spend is
// bounded: one frame of buffer, the guest's memory once prepare() has agreed to it, each page once a round, a deadline
// a frame, and one for getting anywhere.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"
#include "migration/guest.hpp"
#include "migration/lease.hpp"
#include "migration/link/endpoint.hpp"
#include "migration/link/tls.hpp"
#include "migration/wire/session.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

namespace aerate::migration {

struct DestinationOptions {
    std::chrono::milliseconds deadline{10'000}; ///< within which each frame must be here, whole
    unsigned max_rounds = 1000;
    ByteCount max_memory{~0ULL};  ///< of the guest
    Lease* lease = nullptr;       ///< the source must have the same
    const Tls* tls = nullptr;     ///< likewise; null: plain
    Listener* listener = nullptr; ///< where further streams join; null: there are none
    /// Called when all streams have joined: from now on others may accept at `listener`. The receiving thread.
    std::function<void()> joined{};
    /// Instead of a random one: tests replay recorded streams.
    std::optional<Session> session{};
};

struct DestinationProgress {
    unsigned round = 0;
    ByteCount wire; ///< received
};

struct DestinationReport {
    unsigned rounds = 0;
    ByteCount wire;
    PageCount pages;  ///< with content
    PageCount deltas; ///< as what differed
    PageCount zero;   ///< as runs
    bool verified = false;
};

class Destination {
public:
    /// `socket`: connected, a stream. `guest`, the lease and the credentials outlive this.
    Destination(FileDescriptor socket, DestinationGuest& guest, DestinationOptions);
    ~Destination();
    Destination(const Destination&) = delete;
    Destination& operator=(const Destination&) = delete;

    /// Receives the guest. Once. When it fails the guest does not run here, and discard() has been called if prepare()
    /// succeeded.
    [[nodiscard]] Result<DestinationReport> receive();
    /// Any thread.
    [[nodiscard]] DestinationProgress progress() const;
    /// Returns for how long the source has got nowhere; see ProgressClock. Any thread.
    [[nodiscard]] std::chrono::milliseconds idle() const;
    /// Ends receive() with an error, unless the guest is running here already. Any thread, any number of times.
    void cancel();

private:
    class Engine;
    std::unique_ptr<Engine> engine_;
};

} // namespace aerate::migration
