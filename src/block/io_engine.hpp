// Disk I/O that the event loop need not wait for.
//
//     engine.submit(operation, token);  engine.flush();
//     loop.watch(engine.completion_fd(), ...)  ->  while (auto done = engine.take_completion()) ...
#pragma once

#include "base/error.hpp"

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace aerate {

struct IoOperation {
    enum class Kind : std::uint8_t { read, write, write_through, synchronise, allocate };
    Kind kind{};
    std::span<const iovec> buffers{}; ///< stay where they are until completion
    std::uint64_t offset = 0;
    std::uint64_t length = 0; ///< allocate
    int mode = 0;             ///< allocate: as of fallocate(2)
    int other_file = -1;      ///< read: from this descriptor, if it is one, not the engine's
};

struct IoCompletion {
    std::uint64_t token{};
    int result{}; ///< bytes, or -errno
};

/// One thread. At most as many operations are in flight as the engine was made for.
class IoEngine {
public:
    virtual ~IoEngine() = default;
    /// Queues the operation. REQUIRES: fewer are in flight than the engine was made for.
    virtual void submit(const IoOperation&, std::uint64_t token) = 0;
    /// Starts what is queued. False: the host has no memory for it now; call again later.
    [[nodiscard]] virtual bool flush() = 0;
    [[nodiscard]] virtual std::optional<IoCompletion> take_completion() = 0;
    /// Returns a descriptor that is readable when there are completions; acknowledge() before taking them.
    [[nodiscard]] virtual int completion_fd() const = 0;
    virtual void acknowledge() = 0;
    /// Cancels what can be cancelled and waits for the rest; no buffer is touched once this returns. Completions are
    /// lost.
    virtual void abandon() = 0;
};

enum class IoEngineKind : std::uint8_t {
    io_uring, ///< or, if the host does not let us, blocking, with a warning
    blocking, ///< plain system calls on the calling thread: they make the loop wait for the disk
};
/// Borrows `fd`.
[[nodiscard]] Result<std::unique_ptr<IoEngine>> make_io_engine(IoEngineKind, int fd, unsigned depth);

[[nodiscard]] Result<std::unique_ptr<IoEngine>> make_io_uring_engine(int fd, unsigned depth);
[[nodiscard]] Result<std::unique_ptr<IoEngine>> make_blocking_engine(int fd);

} // namespace aerate
