// A disk as it may be at its worst.
#pragma once

#include "block/io_engine.hpp"
#include "event/event_fd.hpp"

#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

namespace aerate::testing {

/// Holds operations back, completes them in any order, cuts transfers short, and fails those that it is told to.
class UnkindEngine final : public IoEngine {
public:
    UnkindEngine(int fd, unsigned seed)
        : inner_(*make_blocking_engine(fd))
        , ready_(*EventFd::create())
        , random_(seed) {}

    void submit(const IoOperation& operation, std::uint64_t token) override { held_.push_back({operation, token}); }
    bool flush() override {
        if (!held_.empty() && !stalled)
            ready_.signal();
        return random_() % 8 != 0;
    }
    std::optional<IoCompletion> take_completion() override {
        if (held_.empty() || stalled)
            return std::nullopt;
        const auto chosen = held_.begin() + static_cast<std::ptrdiff_t>(random_() % held_.size());
        const auto [operation, token] = *chosen;
        held_.erase(chosen);
        if (!held_.empty())
            ready_.signal();
        if (next_result) {
            const int result = *std::exchange(next_result, std::nullopt);
            return IoCompletion{token, result};
        }
        const bool writes =
            operation.kind == IoOperation::Kind::write || operation.kind == IoOperation::Kind::write_through;
        if (full && writes)
            return IoCompletion{token, -ENOSPC};
        if (random_() % 16 == 0)
            return IoCompletion{token, -EINTR};
        std::vector<iovec> some(operation.buffers.begin(), operation.buffers.end());
        if (!some.empty() && random_() % 2 == 0) {
            some.resize(1 + random_() % some.size());
            some.back().iov_len = 1 + random_() % some.back().iov_len;
        }
        IoOperation part = operation;
        part.buffers = some;
        inner_->submit(part, token);
        return inner_->take_completion();
    }
    int completion_fd() const override { return ready_.fd(); }
    void acknowledge() override { ready_.drain(); }
    void abandon() override { held_.clear(); }

    void release() {
        stalled = false;
        ready_.signal();
    }
    bool stalled = false;
    std::optional<int> next_result;
    bool full = false; ///< nothing more can be written
    [[nodiscard]] std::size_t held() const { return held_.size(); }

private:
    std::unique_ptr<IoEngine> inner_;
    EventFd ready_;
    std::mt19937 random_;
    std::deque<std::pair<IoOperation, std::uint64_t>> held_;
};

} // namespace aerate::testing
