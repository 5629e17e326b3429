#include "machine/operations.hpp"

#include <utility>

namespace aerate {

Operations::Operations(EventLoop& main_loop, LiveGuest::RunStates run_states, std::function<void()> idle)
    : main_loop_(main_loop)
    , run_states_(std::move(run_states))
    , idle_(std::move(idle)) {}

void Operations::begin(std::string what, Hardware& hardware, std::string config, control::Server::Answer answer) {
    busy_ = std::move(what);
    answer_ = std::move(answer);
    guest_ = std::make_unique<LiveGuest>(main_loop_, hardware, std::move(config), run_states_);
}

/// The operation's thread is joined here, and not in the callback that it came from.
void Operations::end(control::Reply reply) {
    snapshotter_.reset();
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
    begin("a snapshot", hardware, std::move(config), std::move(answer));
    snapshotter_ = std::make_unique<Snapshotter>(
        *guest_,
        Snapshotter::Options{
            .file = {.path = request.path,
                     .regions = std::move(regions),
                     .existing = request.replace ? snapshot::Existing::replace : snapshot::Existing::refuse,
                     .key = std::move(key)},
            .sweep = request.sweep},
        [this, quiet = request.quiet](Result<SnapshotReport> result) {
            main_loop_.post([this, quiet, result = std::move(result)]() mutable {
                if (!result)
                    return end(control::Failure{500, std::move(result).error().message});
                if (quiet)
                    return end(control::Done{});
                end(control::SnapshotStatus{result->data, result->omitted, result->hold, result->duration});
            });
        });
    snapshotter_->start();
}

void Operations::cancel() {
    if (snapshotter_)
        snapshotter_->cancel();
}

} // namespace aerate
