// Takes a snapshot of a running VM: carries out protocol::Precopy, in its plan for snapshots, on a thread of its own.
//
//     track ─▶ (hint round) ─▶ freeze ─▶ copy what is not free ─▶ guest goes on ─▶ disks, disk, name
//
// The guest is stopped while its memory is copied into the host's page cache; that this reaches the disk, and that
// what the guest had written reaches its own disks, is waited for when the guest runs again: a power failure must not
// leave a snapshot beside disks older than it. A page that the guest hinted as free and has not written since is left
// out. A diff copies what was written since the base only.
#pragma once

#include "base/error.hpp"
#include "event/loop_thread.hpp"
#include "machine/diff_base.hpp"
#include "machine/threads.hpp"
#include "migration/copy_hints.hpp"
#include "migration/guest.hpp"
#include "protocol/precopy.hpp"
#include "snapshot/writer.hpp"

#include <atomic>
#include <chrono>
#include <optional>
#include <string>

namespace aerate {

struct SnapshotReport {
    std::string parent;               ///< the file that it is a diff of; empty: none
    ByteCount data;                   ///< of pages that hold something
    ByteCount omitted;                ///< of pages that are free on the guest's word
    std::chrono::microseconds hold{}; ///< for which the guest was stopped
    std::chrono::microseconds duration{};
};

class Snapshotter {
public:
    struct Options {
        snapshot::Writer::Options file;
        /// Ask the guest, with the logs armed, what is free. After a sweep too, which answers another question:
        /// docs/architecture.md, Sweep.
        bool sweep = false;
        bool stop = false; ///< the guest goes on in the file only
        /// The snapshot becomes what the next diff is a diff of. When `file` has what the base has, it is one itself.
        DiffBase* base = nullptr;
        /// Keep track of what the guest writes from here on. A diff of what was not tracked has all that the guest has.
        bool track = true;
        snapshot::Lineage lineage = {}; ///< of the snapshot before, which this one leaves whole
        snapshot::FileOperations* file_operations = &snapshot::FileOperations::real();
    };
    /// On the snapshot's thread. Then the snapshot no longer uses anything of the guest.
    using Finished = std::move_only_function<void(Result<SnapshotReport>)>;

    /// `guest`, the base and the operations outlive this.
    Snapshotter(migration::SourceGuest& guest, Options, Finished);
    /// REQUIRES: `finished` was called, or start() was not.
    ~Snapshotter() { thread_.stop(); }

    /// Fails when the host refuses the thread; `finished` is not called then.
    [[nodiscard]] Result<> start();
    /// Cancels: the guest goes on, and there is no file. Any thread.
    void cancel();

private:
    using Clock = std::chrono::steady_clock;

    void begin();
    Result<> prepare();
    void tell(const protocol::PrecopyEvent&);
    void gather();
    void ask_for_hints();
    [[nodiscard]] std::chrono::milliseconds use_hint(PageRange);
    void freeze();
    void save_state();
    [[nodiscard]] bool is_diff() const { return options_.file.parent || options_.file.base; }
    void expect_all_to_have_changed();
    Result<> write_holes();
    void saved(const snapshot::Digest&);
    void copy();
    void write(PageRange);
    void complete();
    void disks_synced(Result<>);
    void give_up(Error);
    void end(Result<SnapshotReport>);
    /// Runs `f` on this thread, unless the snapshot has ended.
    template <typename F>
    [[nodiscard]] auto later(F f);

    migration::SourceGuest& guest_;
    Options options_;
    Finished finished_;
    std::optional<snapshot::Writer> writer_;
    protocol::Precopy<PageBitmap> copy_;
    std::vector<std::byte> state_;
    std::optional<Error> failure_;
    SnapshotReport report_;
    Clock::time_point began_;
    Clock::time_point frozen_;
    std::atomic<bool> cancelled_{false};
    bool syncing_ = false;
    bool began_tracking_ = false; ///< of the base
    LoopThread thread_{snapshot_thread};
    migration::CopyHints hints_; ///< on that thread
};

} // namespace aerate
