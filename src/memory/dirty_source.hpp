// Who can say which pages were written. KVM's log, the monitor's own writes, a vhost-user log: each is a DirtySource,
// and whoever tracks memory takes them all.
#pragma once

#include "memory/page_bitmap.hpp"

namespace aerate {

class DirtySource {
public:
    /// Adds the pages written since the last take to `into`, and forgets them here. A write that races with take() is
    /// in this one or in the next.
    virtual void take(PageBitmap& into) = 0;

protected:
    ~DirtySource() = default;
};

} // namespace aerate
