// What a diff snapshot is a diff of: the last snapshot of its form that this guest took or was restored from, and every
// page that was written or discarded since.
//
//     last snapshot               the next one: gather()         saved()
//     ─────┬──────── written() ────────┬───── not yet seen ─────────┬───▶
//          │                           │ the guest is stopped       │ the file is on the disk
//
// A snapshot that fails never comes to saved(): its pages stay in written(), and the next diff has them.
//
// Used by one thread at a time: that of the snapshot under way, else the main loop.
#pragma once

#include "base/error.hpp"
#include "memory/dirty_tracker.hpp"
#include "memory/page_bitmap.hpp"
#include "snapshot/chain.hpp"
#include "snapshot/manifest.hpp"

#include <optional>
#include <utility>

namespace aerate {

class DiffBase {
public:
    /// REQUIRES: the tracker outlives this.
    explicit DiffBase(DirtyTracker& tracker)
        : tracker_(tracker) {}

    /// Starts tracking writes to this many pages. Does nothing the second time.
    [[nodiscard]] Result<> track(PageCount address_space) {
        if (writes_)
            return {};
        written_ = TRY(PageBitmap::create(address_space));
        writes_ = TRY(tracker_.track());
        return {};
    }
    [[nodiscard]] bool tracks() const { return writes_.has_value(); }
    /// Undoes track(): for a snapshot that failed and was to be the first.
    void stop() {
        writes_.reset();
        written_ = {};
    }
    /// Adds what was written until now. REQUIRES: track() has succeeded.
    void gather() { writes_->gather(written_); }
    /// Notes that the file holds the guest as it was at the last gather(), or at track() without one.
    void saved(snapshot::Parent file) {
        parent_ = std::move(file);
        written_.clear_all();
    }
    /// The same of a memory file; also while nothing is tracked.
    void saved(snapshot::MemoryImage file) {
        memory_file_ = std::move(file);
        if (writes_)
            written_.clear_all();
    }

    [[nodiscard]] const PageBitmap& written() const { return written_; }
    /// Returns nothing before the first saved().
    [[nodiscard]] const std::optional<snapshot::Parent>& parent() const { return parent_; }
    [[nodiscard]] const std::optional<snapshot::MemoryImage>& memory_file() const { return memory_file_; }

    /// Returns the lineage of the latest snapshot, also while nothing is tracked.
    [[nodiscard]] const snapshot::Lineage& lineage() const { return lineage_; }
    void set_lineage(snapshot::Lineage lineage) { lineage_ = std::move(lineage); }

private:
    snapshot::Lineage lineage_;
    DirtyTracker& tracker_;
    std::optional<DirtyTracker::Tracking> writes_;
    PageBitmap written_;
    std::optional<snapshot::Parent> parent_;
    std::optional<snapshot::MemoryImage> memory_file_;
};

/// Snapshots in one file and in two are diffs of what was taken in their own form, so that both can be taken in turn.
struct DiffBases {
    explicit DiffBases(DirtyTracker& tracker)
        : one_file(tracker)
        , two_files(tracker) {}
    DiffBase one_file;
    DiffBase two_files;
};

} // namespace aerate
