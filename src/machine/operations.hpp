// What copies the running VM: a snapshot or a migration, one at a time. Main loop.
#pragma once

#include "control/request.hpp"
#include "control/server.hpp"
#include "machine/departure.hpp"
#include "machine/live_guest.hpp"
#include "machine/snapshotter.hpp"
#include "migration/source.hpp"

#include <memory>
#include <optional>
#include <string>

namespace aerate {

class Operations {
public:
    /// `idle` is called each time that an operation has ended and is gone.
    Operations(EventLoop& main_loop, LiveGuest::RunStates run_states, std::function<void()> idle);
    /// REQUIRES: not busy().
    ~Operations() = default;

    /// What is under way, in words; empty when nothing is.
    [[nodiscard]] const std::string& busy() const { return busy_; }
    /// One is about to begin: cancel() is meant for it from here on.
    void announce() { cancelled_ = false; }
    [[nodiscard]] bool cancelled() const { return cancelled_; }
    /// REQUIRES: announced, and not busy(). For a diff: pages are tracked, and there was a snapshot.
    void snapshot(Hardware&, std::string config, const control::TakeSnapshot&, control::Server::Answer);
    /// The same. Answered when the guest has moved, stays, or when nobody can know (MigrationStatus::phase).
    void migrate(Hardware&, std::string config, Departure, control::Server::Answer);
    /// Of the one under way, or the last one.
    [[nodiscard]] const control::MigrationStatus& migration() const { return migration_status_; }
    /// What is announced or under way comes to nothing, if it still can. Any number of times.
    void cancel();

private:
    void begin(std::string what, Hardware&, std::string config, LiveGuest::Purpose, control::Server::Answer);
    void end(control::Reply);
    void migrated(const migration::SourceResult&);

    EventLoop& main_loop_;
    LiveGuest::RunStates run_states_;
    std::function<void()> idle_;
    std::string busy_;
    std::optional<control::Server::Answer> answer_;
    std::unique_ptr<LiveGuest> guest_;
    std::unique_ptr<Snapshotter> snapshotter_;
    std::optional<Departure> departure_;
    std::unique_ptr<migration::Source> migration_;
    control::MigrationStatus migration_status_{.phase = "none"};
    bool cancelled_ = false; ///< since announce()
};

} // namespace aerate
