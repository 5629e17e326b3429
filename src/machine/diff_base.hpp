// What a diff snapshot is a diff of: the last snapshot that this guest took or was restored from, and every page that
// was written or discarded since.
//
//     last snapshot               the next one: gather()         saved()
//     ─────┬──────── written() ────────┬───── not yet seen ─────────┬───▶
//          │                           │ the guest stands still     │ the file is on the disk
//
// A snapshot that fails never comes to saved(): its pages stay in written(), and the next diff has them.
//
// Used by one thread at a time: that of the snapshot under way, else the main loop.
#pragma once

#include "base/error.hpp"
#include "memory/dirty_tracker.hpp"
#include "memory/page_bitmap.hpp"
#include "snapshot/manifest.hpp"

#include <optional>

namespace aerate {

class DiffBase {
public:
    /// REQUIRES: the tracker outlives this.
    DiffBase(DirtyTracker& tracker, PageCount address_space)
        : tracker_(tracker)
        , written_(address_space) {}

    /// From here on every write is remembered. Does nothing the second time.
    [[nodiscard]] Result<> track() {
        if (!writes_)
            writes_ = TRY(tracker_.track());
        return {};
    }
    /// Adds what was written until now. REQUIRES: track() has succeeded.
    void gather() { writes_->gather(written_); }
    /// The file holds the guest as it was at the last gather(), or at track() without one.
    void saved(snapshot::Parent file) {
        parent_ = std::move(file);
        written_.clear_all();
    }

    [[nodiscard]] const PageBitmap& written() const { return written_; }
    /// Nothing before the first saved().
    [[nodiscard]] const std::optional<snapshot::Parent>& parent() const { return parent_; }

private:
    DirtyTracker& tracker_;
    std::optional<DirtyTracker::Tracking> writes_;
    PageBitmap written_;
    std::optional<snapshot::Parent> parent_;
};

} // namespace aerate
