#include "machine/snapshot_load.hpp"

namespace aerate {
namespace {

Result<SnapshotLoad::Loaded> read(const control::LoadSnapshot& load, const std::string& name,
                                  const std::atomic<bool>& cancelled) {
    const snapshot::Progress go_on = [&cancelled](ByteCount, ByteCount) { return !cancelled; };
    auto opened = TRY(open_snapshot(load, name, go_on));
    auto guest = TRY(saved_guest(opened, go_on));
    return SnapshotLoad::Loaded{.opened = std::move(opened), .guest = std::move(guest)};
}

} // namespace

Result<std::unique_ptr<SnapshotLoad>> SnapshotLoad::start(EventLoop& main_loop, control::LoadSnapshot load,
                                                          std::string name, Finished finished) {
    auto made = std::unique_ptr<SnapshotLoad>(new SnapshotLoad(std::move(finished)));
    TRY(made->thread_.start());
    made->thread_.loop().post([&main_loop, load = std::move(load), name = std::move(name),
                               waiting = std::weak_ptr(made->finished_), &cancelled = made->cancelled_] {
        main_loop.post([waiting, result = read(load, name, cancelled)]() mutable {
            if (const auto told = waiting.lock())
                (*told)(std::move(result));
        });
    });
    return made;
}

} // namespace aerate
