// What may take as long as it likes, because a disk or a file system does it, on a thread of its own that nobody waits
// for: the loop serves others meanwhile, and may give it up.
//
//     task_ = TRY(BackgroundTask<Result<Image>>::start(loop, disk_thread, [options] { return Image::open(options); },
//                                                      [this](Result<Image> image) { ... }));
#pragma once

#include "base/check.hpp"
#include "base/error.hpp"
#include "base/host.hpp"
#include "confine/thread_kind.hpp"
#include "event/event_loop.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace aerate {

/// Loop thread.
template <typename T>
class BackgroundTask {
public:
    /// Runs on the thread, and refers to nothing of the caller's: it may outlive the loop.
    using Work = std::move_only_function<T()>;
    /// On the loop, once; may destroy the task. Not called when the task was destroyed before.
    using Done = std::move_only_function<void(T)>;

    /// Fails when the host refuses the thread.
    [[nodiscard]] static Result<std::unique_ptr<BackgroundTask>> start(EventLoop& loop, const confine::ThreadKind& kind,
                                                                       Work work, Done done) {
        CHECK(loop.owned_here());
        auto state = std::make_shared<State>();
        state->loop = &loop;
        state->done = std::move(done);
        auto started = TRY(host::start_thread(
            kind, std::string(kind.name),
            [state, work = std::move(work)](const std::stop_token&) mutable { deliver(state, work()); }));
        started.detach();
        return std::unique_ptr<BackgroundTask>(new BackgroundTask(std::move(state)));
    }
    BackgroundTask(const BackgroundTask&) = delete;
    BackgroundTask& operator=(const BackgroundTask&) = delete;
    /// Gives it up: what comes of it is destroyed when it comes.
    ~BackgroundTask() {
        const std::lock_guard lock(state_->mutex);
        CHECK(state_->loop->owned_here());
        state_->loop = nullptr;
        state_->done = nullptr;
    }

private:
    struct State {
        std::mutex mutex;
        EventLoop* loop = nullptr; ///< null: given up; guarded by the mutex
        Done done;                 ///< the loop's
    };

    explicit BackgroundTask(std::shared_ptr<State> state)
        : state_(std::move(state)) {}

    static void deliver(const std::shared_ptr<State>& state, T result) {
        const std::lock_guard lock(state->mutex);
        if (state->loop != nullptr)
            state->loop->post([state, result = std::move(result)]() mutable {
                if (auto done = std::exchange(state->done, nullptr))
                    done(std::move(result));
            });
    }

    std::shared_ptr<State> state_;
};

} // namespace aerate
