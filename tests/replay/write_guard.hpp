// Write protection of guest memory by userfaultfd: the first write to a page waits while its handler notes it. The real
// thing, with the two holes that it has when it is used without care.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "event/event_fd.hpp"
#include "memory/guest_memory.hpp"
#include "memory/page_bitmap.hpp"

#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

namespace aerate::replay {

/// Whether this host lets us try (root, or vm.unprivileged_userfaultfd).
[[nodiscard]] bool userfaultfd_is_allowed();

class WriteGuard {
public:
    enum class Holes : std::uint8_t {
        are_guarded,   ///< UFFD_FEATURE_WP_UNPOPULATED
        are_forgotten, ///< a page that was never touched is not protected, and its first write not seen
    };

    /// REQUIRES: the memory has one region.
    WriteGuard(GuestMemory& memory, Holes holes)
        : memory_(memory)
        , holes_(holes)
        , written_(memory.address_space()) {}
    ~WriteGuard();
    WriteGuard(const WriteGuard&) = delete;
    WriteGuard& operator=(const WriteGuard&) = delete;

    /// Protects all pages, and forgets what was written.
    [[nodiscard]] Result<> protect_all();

    /// Calls `f` with the pages written since, under the lock that write faults take. A write that it meets goes on
    /// when it returns.
    template <typename F>
    void locked(F&& f) {
        const std::scoped_lock lock(mutex_);
        f(written_);
    }

private:
    Result<> open();
    void serve();
    void take_fault();
    Result<> protect(std::uint64_t address, ByteCount length, bool on) const;

    GuestMemory& memory_;
    Holes holes_;
    FileDescriptor uffd_;
    std::mutex mutex_;
    PageBitmap written_; ///< guarded by mutex_
    std::optional<EventFd> stop_;
    std::jthread thread_;
};

} // namespace aerate::replay
