#include "machine/operations.hpp"

#include "base/check.hpp"
#include "base/log.hpp"
#include "base/since.hpp"

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
            .zero = progress.zero,
            .hinted = progress.hinted,
            .pending = progress.pending,
            .dirty_rate = progress.dirty_per_second,
            .throughput = progress.throughput,
            .throttle = progress.throttle,
            .expected_downtime = progress.expected};
}

/// Returns the steps from the request on: what went before the source's own is one more.
std::vector<control::MigrationStep> timeline_of(const migration::SourceResult& result,
                                                std::chrono::microseconds prepared) {
    std::vector<control::MigrationStep> steps{{.step = "preparing", .duration = prepared}};
    for (const migration::TimelineStep& step : result.timeline)
        steps.push_back({.step = std::string(name_of(step.kind)),
                         .round = step.round,
                         .start = prepared + step.start,
                         .duration = step.duration,
                         .sent = step.sent,
                         .still = step.kind >= migration::TimelineStep::Kind::stopping});
    return steps;
}

} // namespace

Operations::Operations(EventLoop& main_loop, MakeGuest make_guest, std::function<void()> idle)
    : main_loop_(main_loop)
    , make_guest_(std::move(make_guest))
    , idle_(std::move(idle)) {}

void Operations::begin(std::string what, LiveGuest::Purpose purpose, control::Server::Answer answer) {
    CHECK(main_loop_.owned_here());
    busy_ = std::move(what);
    answer_ = std::move(answer);
    guest_ = make_guest_(purpose);
}

/// Ends the operation. Joins its thread here, and not in the callback that it came from.
void Operations::end(control::Reply reply) {
    CHECK(main_loop_.owned_here());
    snapshotter_.reset();
    migration_.reset();
    outgoing_.reset();
    guest_.reset();
    busy_.clear();
    (*std::exchange(answer_, std::nullopt))(std::move(reply));
    idle_();
}

void Operations::snapshot(DiffBases& bases, const control::TakeSnapshot& request, control::Server::Answer answer) {
    std::optional<snapshot::Key> key;
    if (!request.key_path.empty()) {
        auto loaded = snapshot::Key::load(request.key_path);
        if (!loaded)
            return answer(control::Failure{400, std::move(loaded).error().message});
        key = *std::move(loaded);
    }
    begin("a snapshot", LiveGuest::Purpose::copy, std::move(answer));
    std::vector<MemoryRegion> regions;
    for (const MappedRegion& region : guest_->memory().regions())
        regions.push_back(region.guest);
    DiffBase& base = request.memory_path.empty() ? bases.one_file : bases.two_files;
    auto file = snapshot::Writer::Options{.path = request.path,
                                          .regions = std::move(regions),
                                          .existing = request.replace ? snapshot::Existing::replace
                                                                      : snapshot::Existing::refuse,
                                          .key = std::move(key),
                                          .memory_path = request.memory_path};
    if (request.diff) {
        file.parent = base.parent();
        file.base = base.memory_file();
    }
    snapshotter_ = std::make_unique<Snapshotter>(
        *guest_,
        Snapshotter::Options{.file = std::move(file),
                             .sweep = request.sweep,
                             .stop = request.stop,
                             .base = request.track_dirty_pages || !request.memory_path.empty() ? &base : nullptr,
                             .track = request.track_dirty_pages,
                             .lineage = bases.one_file.lineage()},
        [this, quiet = request.quiet](Result<SnapshotReport> result) {
            main_loop_.post([this, quiet, result = std::move(result)]() mutable {
                if (!result)
                    return end(control::Failure{500, why_cancelled_.empty() ? std::move(result).error().message
                                                                            : why_cancelled_});
                if (quiet)
                    return end(control::Done{});
                end(control::SnapshotStatus{std::move(result->parent), result->data, result->omitted, result->hold,
                                            result->duration});
            });
        });
    if (auto started = snapshotter_->start(); !started)
        end(control::Failure{500, "no snapshot was taken: " + started.error().message});
}

void Operations::migrate(OutgoingMigration outgoing, control::Server::Answer answer) {
    begin("a migration", LiveGuest::Purpose::move, std::move(answer));
    prepared_ = since(announced_);
    outgoing_ = std::move(outgoing);
    migration_status_ = {.phase = "connecting"};
    migration_ = std::make_unique<migration::Source>(
        *guest_, outgoing_->options,
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
    if (const auto started = migration_->start(); !started)
        migrated({.error = "no migration was begun: " + started.error().message, .last = {}});
}

void Operations::migrated(const migration::SourceResult& result) {
    using migration::Outcome;
    migration_status_ = status_of(result.last);
    migration_status_.phase = result.outcome == Outcome::moved    ? "moved"
                              : result.outcome == Outcome::stayed ? "stayed"
                                                                  : "unknown";
    const bool stayed = result.outcome == Outcome::stayed;
    migration_status_.error = stayed && !why_cancelled_.empty() ? why_cancelled_ : result.error;
    migration_status_.downtime = result.downtime;
    migration_status_.duration = result.total;
    migration_status_.timeline = timeline_of(result, prepared_);
    const std::string& there = outgoing_->destination.text();
    if (result.outcome == Outcome::moved)
        log::info("the guest runs at {} now, and this monitor ends", there);
    else if (result.outcome == Outcome::unknown)
        log::warning("the guest was given to {}, which did not answer: it is stopped here, and may run there", there);
    end(migration_status_);
}

void Operations::cancel(std::string why) {
    CHECK(main_loop_.owned_here());
    cancelled_ = true;
    if (!why.empty())
        why_cancelled_ = std::move(why);
    if (snapshotter_)
        snapshotter_->cancel();
    if (migration_)
        migration_->cancel();
}

} // namespace aerate
