// What copies the running VM: a snapshot or a migration, one at a time. Main loop.
#pragma once

#include "control/request.hpp"
#include "control/server.hpp"
#include "machine/diff_base.hpp"
#include "machine/live_guest.hpp"
#include "machine/outgoing_migration.hpp"
#include "machine/snapshotter.hpp"
#include "migration/source.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>

namespace aerate {

class Operations {
public:
    /// Makes the running VM as one operation sees it.
    using MakeGuest = std::function<std::unique_ptr<migration::SourceGuest>(LiveGuest::Purpose)>;

    /// `idle` is called each time that an operation has ended and is gone.
    Operations(EventLoop& main_loop, MakeGuest make_guest, std::function<void()> idle);
    /// REQUIRES: not busy().
    ~Operations() = default;

    /// Returns what is under way, in words; empty when nothing is.
    [[nodiscard]] const std::string& busy() const { return busy_; }
    /// Announces an operation: from here on cancel() is meant for it.
    void announce() {
        announced_ = std::chrono::steady_clock::now();
        cancelled_ = false;
        why_cancelled_.clear();
    }
    [[nodiscard]] bool cancelled() const { return cancelled_; }
    /// REQUIRES: announced, and not busy(). For a diff: pages are tracked, and there was a snapshot.
    void snapshot(DiffBases&, const control::TakeSnapshot&, control::Server::Answer);
    /// REQUIRES: announced, and not busy(). Answers when the guest has moved, stays, or when neither side can know
    /// (MigrationStatus::phase).
    void migrate(OutgoingMigration, control::Server::Answer);
    /// Returns how the migration that is under way stands, or how the last one ended.
    [[nodiscard]] const control::MigrationStatus& migration() const { return migration_status_; }
    /// Cancels what is announced or under way, if it still can be. Any number of times. The answer says `why`,
    /// unless that is empty: because an operator asked.
    void cancel(std::string why = {});

private:
    void begin(std::string what, LiveGuest::Purpose, control::Server::Answer);
    void end(control::Reply);
    void migrated(const migration::SourceResult&);

    EventLoop& main_loop_;
    MakeGuest make_guest_;
    std::function<void()> idle_;
    std::string busy_;
    std::optional<control::Server::Answer> answer_;
    std::unique_ptr<migration::SourceGuest> guest_;
    std::unique_ptr<Snapshotter> snapshotter_;
    std::optional<OutgoingMigration> outgoing_;
    std::unique_ptr<migration::Source> migration_;
    control::MigrationStatus migration_status_{.phase = "none"};
    std::chrono::steady_clock::time_point announced_;
    std::chrono::microseconds prepared_{}; ///< what went by between the announcement and the beginning of a migration
    bool cancelled_ = false;               ///< since announce()
    std::string why_cancelled_;
};

} // namespace aerate
