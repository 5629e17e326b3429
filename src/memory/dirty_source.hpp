// The sources that say which pages were written. KVM's log, the monitor's own writes, a vhost-user log: each is a
// DirtySource, and DirtyTracker takes them all.
#pragma once

#include "base/error.hpp"
#include "memory/page_bitmap.hpp"

namespace aerate {

class DirtySource {
public:
    /// Adds the pages written since the last take to `into`, and forgets them here. A write that races with take() is
    /// in this one or in the next.
    virtual void take(PageBitmap& into) = 0;

    DirtySource() = default;
    DirtySource(const DirtySource&) = delete;
    DirtySource& operator=(const DirtySource&) = delete;

protected:
    ~DirtySource() = default;
};

/// What the vCPUs write. To have it logged slows the guest, and the host can refuse.
///
/// When take() returns, the whole log is cleared and armed again: a page that is read afterwards either has every write
/// that was logged, or is in the next take. One thread at a time.
class DirtyLog : public DirtySource {
public:
    virtual ~DirtyLog() = default;
    /// Begins empty. After a failure stop() is called all the same: logging may be on for a part.
    [[nodiscard]] virtual Result<void> start() = 0;
    [[nodiscard]] virtual Result<void> stop() = 0;
};

} // namespace aerate
