// The monitor's own dirty log. KVM's log sees neither what the monitor writes through its own mapping nor what it
// discards (seen on Linux 6.18: 64 pages written, one punched, log empty), so GuestMemory records both here while
// someone tracks.
#pragma once

#include "memory/dirty_source.hpp"

#include <atomic>
#include <utility>

namespace aerate {

class WriteLog final : public DirtySource {
public:
    /// Logs writes to the pages that `bits` has room for.
    explicit WriteLog(PageBitmap bits)
        : bits_(std::move(bits)) {}

    /// Begins empty. A store to guest memory that races with start() is recorded, or was visible to every thread before
    /// start() returned. While stopped, record() costs one load.
    void start();
    /// Stops recording. What is recorded already can still be taken.
    void stop();
    /// Records a write. Any thread. Called after the bytes are stored, so that a reader that takes the bit sees them.
    void record(PageRange range) {
        // Keeps the compiler from moving the store of the bytes below this load; start() does the rest.
        std::atomic_signal_fence(std::memory_order_seq_cst);
        if (active_.load(std::memory_order_acquire)) [[unlikely]]
            bits_.set(range);
    }
    void take(PageBitmap& into) override { bits_.move_into(into); }
    [[nodiscard]] bool active() const { return active_.load(std::memory_order_relaxed); }

private:
    std::atomic<bool> active_{false};
    PageBitmap bits_;
};

} // namespace aerate
