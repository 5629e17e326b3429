#include "base/check.hpp"
#include "base/host.hpp"
#include "block/io_engine.hpp"
#include "event/event_fd.hpp"

#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

#include <cerrno>

namespace aerate {
namespace {

constexpr std::uint64_t cancel_token = ~0ULL;

void prepare(io_uring_sqe* entry, int fd, const IoOperation& operation) {
    const auto count = static_cast<unsigned>(operation.buffers.size());
    switch (operation.kind) {
    case IoOperation::Kind::read:
        io_uring_prep_readv(entry, operation.other_file >= 0 ? operation.other_file : fd, operation.buffers.data(),
                            count, operation.offset);
        return;
    case IoOperation::Kind::write:
        io_uring_prep_writev(entry, fd, operation.buffers.data(), count, operation.offset);
        return;
    case IoOperation::Kind::write_through:
        io_uring_prep_writev2(entry, fd, operation.buffers.data(), count, operation.offset, RWF_DSYNC);
        return;
    case IoOperation::Kind::synchronise:
        io_uring_prep_fsync(entry, fd, IORING_FSYNC_DATASYNC);
        return;
    case IoOperation::Kind::allocate:
        io_uring_prep_fallocate(entry, fd, operation.mode, static_cast<off_t>(operation.offset),
                                static_cast<off_t>(operation.length));
        return;
    }
}

class IoUringEngine final : public IoEngine {
public:
    IoUringEngine(int fd, const io_uring& ring, EventFd completion)
        : fd_(fd)
        , ring_(ring)
        , completion_(std::move(completion)) {}
    IoUringEngine(const IoUringEngine&) = delete;
    IoUringEngine& operator=(const IoUringEngine&) = delete;
    ~IoUringEngine() override {
        abandon();
        io_uring_queue_exit(&ring_);
    }

    void submit(const IoOperation& operation, std::uint64_t token) override {
        // The ring has room for every operation in flight and one more.
        io_uring_sqe* entry = io_uring_get_sqe(&ring_);
        CHECK(entry != nullptr);
        prepare(entry, fd_, operation);
        io_uring_sqe_set_data64(entry, token);
        ++outstanding_;
    }

    bool flush() override {
        while (io_uring_sq_ready(&ring_) > 0) {
            const int submitted = io_uring_submit(&ring_);
            if (submitted < 0 && submitted != -EINTR)
                return false;
        }
        return true;
    }

    std::optional<IoCompletion> take_completion() override {
        for (;;) {
            io_uring_cqe* entry = nullptr;
            if (io_uring_peek_cqe(&ring_, &entry) != 0 || entry == nullptr)
                return std::nullopt;
            const IoCompletion completion{io_uring_cqe_get_data64(entry), entry->res};
            io_uring_cqe_seen(&ring_, entry);
            --outstanding_;
            if (completion.token != cancel_token)
                return completion;
        }
    }

    int completion_fd() const override { return completion_.fd(); }
    void acknowledge() override { completion_.drain(); }

    void abandon() override {
        if (outstanding_ == 0)
            return;
        // One request cancels all (Linux 5.19); on an older kernel it fails, and we wait for the disk.
        if (io_uring_sqe* entry = io_uring_get_sqe(&ring_); entry != nullptr) {
            io_uring_prep_cancel64(entry, 0, IORING_ASYNC_CANCEL_ANY);
            io_uring_sqe_set_data64(entry, cancel_token);
            ++outstanding_;
        }
        while (outstanding_ > 0) {
            const int result = io_uring_submit_and_wait(&ring_, 1);
            while (take_completion()) {
            }
            // Nothing can be waited for while the host is short of memory for submissions.
            if (result < 0 && result != -EINTR)
                ::usleep(1000);
        }
        acknowledge();
    }

private:
    int fd_;
    io_uring ring_;
    EventFd completion_;
    unsigned outstanding_ = 0; ///< queued or in flight, the cancellation included
};

} // namespace

Result<std::unique_ptr<IoEngine>> make_io_uring_engine(int fd, unsigned depth) {
    EventFd completion = TRY(EventFd::create());
    io_uring ring{};
    if (host::refuses(host::Resource::descriptor))
        return fail_errno("io_uring is not available");
    if (const int error = io_uring_queue_init(depth + 1, &ring, 0); error != 0) {
        errno = -error;
        return fail_errno("io_uring is not available");
    }
    if (const int error = io_uring_register_eventfd(&ring, completion.fd()); error != 0) {
        io_uring_queue_exit(&ring);
        errno = -error;
        return fail_errno("cannot receive io_uring completions");
    }
    return std::unique_ptr<IoEngine>(new IoUringEngine(fd, ring, std::move(completion)));
}

} // namespace aerate
