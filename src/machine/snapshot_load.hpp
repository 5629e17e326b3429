// A snapshot that is asked for over the API, read on a thread of its own: all of its memory may have to be checked, and
// the main loop answers meanwhile.
#pragma once

#include "base/error.hpp"
#include "control/request.hpp"
#include "event/event_loop.hpp"
#include "event/loop_thread.hpp"
#include "machine/restore.hpp"
#include "machine/threads.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace aerate {

class SnapshotLoad {
public:
    struct Loaded {
        OpenedSnapshot opened;
        SavedGuest guest;
    };
    /// On the main loop, once; may destroy the load.
    using Finished = std::move_only_function<void(Result<Loaded>)>;

    /// Fails when the host refuses the thread. Main loop, which outlives it.
    [[nodiscard]] static Result<std::unique_ptr<SnapshotLoad>> start(EventLoop& main_loop, control::LoadSnapshot,
                                                                     std::string name, Finished);
    /// Gives up what is not finished, as soon as the piece is read that is being read. Main loop.
    ~SnapshotLoad() { cancelled_ = true; }

private:
    explicit SnapshotLoad(Finished finished)
        : finished_(std::make_shared<Finished>(std::move(finished))) {}
    std::shared_ptr<Finished> finished_; ///< what was posted and comes after our end does nothing
    std::atomic<bool> cancelled_{false};
    LoopThread thread_{restore_thread};
};

} // namespace aerate
