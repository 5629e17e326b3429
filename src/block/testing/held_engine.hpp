// A disk that hangs: an engine that does nothing until it is released.
#pragma once

#include "block/io_engine.hpp"
#include "event/event_fd.hpp"

#include <deque>
#include <memory>
#include <optional>
#include <utility>

namespace aerate::testing {

class HeldEngine final : public IoEngine {
public:
    explicit HeldEngine(int fd)
        : inner_(*make_blocking_engine(fd))
        , ready_(*EventFd::create()) {}

    void submit(const IoOperation& operation, std::uint64_t token) override { held_.emplace_back(operation, token); }
    bool flush() override {
        if (released_ && !held_.empty())
            ready_.signal();
        return true;
    }
    std::optional<IoCompletion> take_completion() override {
        if (!released_ || held_.empty())
            return std::nullopt;
        const auto [operation, token] = held_.front();
        held_.pop_front();
        inner_->submit(operation, token);
        return inner_->take_completion();
    }
    int completion_fd() const override { return ready_.fd(); }
    void acknowledge() override { ready_.drain(); }
    void abandon() override { held_.clear(); }

    void release() {
        released_ = true;
        ready_.signal();
    }
    void hold() { released_ = false; }

private:
    std::unique_ptr<IoEngine> inner_;
    EventFd ready_;
    bool released_ = false;
    std::deque<std::pair<IoOperation, std::uint64_t>> held_;
};

} // namespace aerate::testing
