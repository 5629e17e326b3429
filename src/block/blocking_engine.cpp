// Disk I/O by plain system calls, for hosts that forbid io_uring (containers often do).
#include "base/host.hpp"
#include "base/log.hpp"
#include "block/io_engine.hpp"
#include "event/event_fd.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <utility>

namespace aerate {
namespace {

ssize_t perform(int fd, const IoOperation& operation) {
    const auto count = static_cast<int>(operation.buffers.size());
    const auto offset = static_cast<off_t>(operation.offset);
    switch (operation.kind) {
    case IoOperation::Kind::read:
        return ::preadv(operation.other_file >= 0 ? operation.other_file : fd, operation.buffers.data(), count, offset);
    case IoOperation::Kind::write:
        return ::pwritev(fd, operation.buffers.data(), count, offset);
    case IoOperation::Kind::write_through:
        return ::pwritev2(fd, operation.buffers.data(), count, offset, RWF_DSYNC);
    case IoOperation::Kind::synchronise:
        return host::sync_data(fd);
    case IoOperation::Kind::allocate:
        break;
    }
    return ::fallocate(fd, operation.mode, offset, static_cast<off_t>(operation.length));
}

class BlockingEngine final : public IoEngine {
public:
    BlockingEngine(int fd, EventFd completion)
        : fd_(fd)
        , completion_(std::move(completion)) {}

    void submit(const IoOperation& operation, std::uint64_t token) override {
        // A transfer ends below 2 GiB, so the result fits.
        const ssize_t result = perform(fd_, operation);
        done_.push_back({token, result < 0 ? -errno : static_cast<int>(result)});
    }
    bool flush() override {
        if (!done_.empty())
            completion_.signal();
        return true;
    }
    std::optional<IoCompletion> take_completion() override {
        if (done_.empty())
            return std::nullopt;
        const IoCompletion first = done_.front();
        done_.pop_front();
        return first;
    }
    int completion_fd() const override { return completion_.fd(); }
    void acknowledge() override { completion_.drain(); }
    void abandon() override { done_.clear(); }

private:
    int fd_;
    EventFd completion_;
    std::deque<IoCompletion> done_;
};

} // namespace

Result<std::unique_ptr<IoEngine>> make_blocking_engine(int fd) {
    auto completed = TRY(EventFd::create()); // not within the new expression, which has its memory by then
    return std::unique_ptr<IoEngine>(new BlockingEngine(fd, std::move(completed)));
}

Result<std::unique_ptr<IoEngine>> make_io_engine(IoEngineKind kind, int fd, unsigned depth) {
    if (kind == IoEngineKind::blocking)
        return make_blocking_engine(fd);
    auto engine = make_io_uring_engine(fd, depth);
    if (engine)
        return engine;
    log::warning("{}; disks use blocking I/O instead (allow io_uring_setup in the container's seccomp profile, or see "
                 "/proc/sys/kernel/io_uring_disabled)",
                 engine.error().message);
    return make_blocking_engine(fd);
}

} // namespace aerate
