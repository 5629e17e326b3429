#include "machine/operations.hpp"

#include "base/log.hpp"

#include <utility>

namespace aerate {
namespace {

std::string_view name_of(migration::SourceProgress::Phase phase) {
    using Phase = migration::SourceProgress::Phase;
    switch (phase) {
    case Phase::connecting:
        return "connecting";
    case Phase::hinting:
        return "hinting";
    case Phase::copying:
        return "copying";
    case Phase::stopping:
        return "stopping";
    case Phase::handing_over:
        return "handing-over";
    case Phase::ended:
        return "ended";
    }
    return "unknown";
}

control::MigrationStatus status_of(const migration::SourceProgress& progress) {
    return {.phase = std::string(name_of(progress.phase)),
            .error = {},
            .round = progress.round,
            .sent = progress.wire,
            .content = progress.data,
            .stored = progress.stored,
            .compression = migration::name_of(progress.form),
            .pages = progress.pages,
            .delta = progress.delta,
            .zero = progress.zero + progress.absent,
            .hinted = progress.hinted,
            .pending = progress.pending,
            .dirty_rate = progress.dirty_per_second,
            .throughput = progress.throughput,
            .throttle = progress.throttle,
            .expected_downtime = progress.expected};
}

} // namespace

Operations::Operations(EventLoop& main_loop, LiveGuest::RunStates run_states, std::function<void()> idle)
    : main_loop_(main_loop)
    , run_states_(std::move(run_states))
    , idle_(std::move(idle)) {}

void Operations::begin(std::string what, Hardware& hardware, std::string config, LiveGuest::Purpose purpose,
                       control::Server::Answer answer) {
    busy_ = std::move(what);
    answer_ = std::move(answer);
    guest_ = std::make_unique<LiveGuest>(main_loop_, hardware, std::move(config), purpose, run_states_);
}

/// The operation's thread is joined here, and not in the callback that it came from.
void Operations::end(control::Reply reply) {
    snapshotter_.reset();
    migration_.reset();
    departure_.reset();
    guest_.reset();
    busy_.clear();
    (*std::exchange(answer_, std::nullopt))(std::move(reply));
    idle_();
}

void Operations::snapshot(Hardware& hardware, std::string config, const control::TakeSnapshot& request,
                          control::Server::Answer answer) {
    std::optional<snapshot::Key> key;
    if (!request.key_path.empty()) {
        auto loaded = snapshot::Key::load(request.key_path);
        if (!loaded)
            return answer(control::Failure{400, std::move(loaded).error().message});
        key = *std::move(loaded);
    }
    std::vector<MemoryRegion> regions;
    for (const MappedRegion& region : hardware.memory.regions())
        regions.push_back(region.guest);
    DiffBase* const base = request.track_dirty_pages ? &hardware.diff_base() : nullptr;
    begin("a snapshot", hardware, std::move(config), LiveGuest::Purpose::copy, std::move(answer));
    snapshotter_ = std::make_unique<Snapshotter>(
        *guest_,
        Snapshotter::Options{
            .file = {.path = request.path,
                     .regions = std::move(regions),
                     .existing = request.replace ? snapshot::Existing::replace : snapshot::Existing::refuse,
                     .key = std::move(key),
                     .parent = request.diff ? base->parent() : std::nullopt},
            .sweep = request.sweep,
            .stop = request.stop,
            .base = base},
        [this, quiet = request.quiet](Result<SnapshotReport> result) {
            main_loop_.post([this, quiet, result = std::move(result)]() mutable {
                if (!result)
                    return end(control::Failure{500, std::move(result).error().message});
                if (quiet)
                    return end(control::Done{});
                end(control::SnapshotStatus{std::move(result->parent), result->data, result->omitted, result->hold,
                                            result->duration});
            });
        });
    snapshotter_->start();
}

void Operations::migrate(Hardware& hardware, std::string config, Departure departure, control::Server::Answer answer) {
    begin("a migration", hardware, std::move(config), LiveGuest::Purpose::move, std::move(answer));
    departure_ = std::move(departure);
    migration_status_ = {.phase = "connecting"};
    migration_ = std::make_unique<migration::Source>(
        *guest_, departure_->options,
        migration::Source::Callbacks{.progress =
                                         [this](const migration::SourceProgress& progress) {
                                             main_loop_.post([this, status = status_of(progress)] {
                                                 if (migration_)
                                                     migration_status_ = status;
                                             });
                                         },
                                     .finished =
                                         [this](migration::SourceResult result) {
                                             main_loop_.post([this, result = std::move(result)] { migrated(result); });
                                         }});
    migration_->start();
}

void Operations::migrated(const migration::SourceResult& result) {
    using migration::Outcome;
    migration_status_ = status_of(result.last);
    migration_status_.phase = result.outcome == Outcome::moved    ? "moved"
                              : result.outcome == Outcome::stayed ? "stayed"
                                                                  : "unknown";
    migration_status_.error = result.error;
    migration_status_.downtime = result.downtime;
    migration_status_.duration = result.total;
    const std::string& there = departure_->destination.text();
    if (result.outcome == Outcome::moved)
        log::info("the guest runs at {} now, and this monitor ends", there);
    else if (result.outcome == Outcome::unknown)
        log::warning("the guest was given to {}, which did not answer: it stands still here, and may run there", there);
    end(migration_status_);
}

void Operations::cancel() {
    cancelled_ = true;
    if (snapshotter_)
        snapshotter_->cancel();
    if (migration_)
        migration_->cancel();
}

} // namespace aerate
