#include "machine/snapshotter.hpp"

#include "base/check.hpp"
#include "base/since.hpp"
#include "machine/boot_region.hpp"
#include "snapshot/chain.hpp"
#include "snapshot/file_path.hpp"

#include <utility>

namespace aerate {
namespace {

using Event = protocol::PrecopyEvent::Kind;
using Effect = protocol::PrecopyEffect::Kind;

/// For how long hints are waited for: a guest that has no more says so, one that does not is not waited for. What they
/// spare is not only the time to write it but also the room on the disk, so they are worth what a slow one would take.
constexpr std::chrono::milliseconds first_hint{250};
constexpr std::chrono::milliseconds next_hint{50};
constexpr ByteCount slow_disk{32ULL << 20}; // a second
/// Between two of these a cancellation is heard.
constexpr PageCount piece = whole_pages_of(ByteCount{16ULL << 20});

} // namespace

Snapshotter::Snapshotter(migration::SourceGuest& guest, Options options, Finished finished)
    : guest_(guest)
    , options_(std::move(options))
    , finished_(std::move(finished))
    , hints_(thread_.loop(), guest, first_hint, next_hint,
             {.use = [this](PageRange range) { return use_hint(range); },
              .waited = [this] { tell({Event::finish, {}}); }}) {}

Result<> Snapshotter::start() {
    TRY(thread_.start());
    thread_.loop().post([this] { begin(); });
    return {};
}

void Snapshotter::cancel() {
    cancelled_ = true;
    // Should it wait for hints.
    thread_.loop().post([this] {
        if (!finished_)
            return;
        tell({Event::finish, {}});
        if (syncing_)
            disks_synced(fail("the snapshot was cancelled"));
    });
}

template <typename F>
auto Snapshotter::later(F f) {
    return [this, f = std::move(f)](auto&&... arguments) mutable {
        thread_.loop().post([this, f, ... arguments = std::forward<decltype(arguments)>(arguments)]() mutable {
            if (finished_)
                f(std::move(arguments)...);
        });
    };
}

void Snapshotter::begin() {
    began_ = Clock::now();
    if (auto prepared = prepare(); !prepared)
        return end(std::unexpected(std::move(prepared).error()));
    tell({Event::start, {}});
}

Result<> Snapshotter::prepare() {
    TRY(snapshot::check_not_needed(options_.file.path, options_.lineage));
    TRY(snapshot::check_not_needed(options_.file.memory_path, options_.lineage));
    options_.file.cancelled = [this] { return cancelled_.load(); };
    // A diff leaves what the guest boots to the files before it, and has room for it where they do.
    if (options_.file.base)
        options_.file.regions = options_.file.base->regions;
    if (options_.file.parent) {
        report_.parent = options_.file.parent->name;
        options_.file.regions = TRY(snapshot::check_chain(options_.file));
    }
    const auto attachments = is_diff() ? std::vector<migration::Attachment>() : guest_.attachments();
    const auto region = boot_region(attachments);
    if (region)
        options_.file.regions.push_back(*region);
    writer_.emplace(TRY(snapshot::Writer::create(options_.file, *options_.file_operations)));
    if (region)
        TRY(write_boot_region(*writer_, attachments));
    const GuestMemory& memory = guest_.memory();
    copy_.layers = TRY(protocol::PageLayers<PageBitmap>::create(memory.address_space()));
    copy_.plan = protocol::PrecopyPlan::snapshot;
    TRY(guest_.start_tracking());
    const bool tracked = options_.base != nullptr && options_.base->tracks();
    if (options_.base != nullptr && options_.track) {
        began_tracking_ = !tracked;
        TRY(options_.base->track(memory.address_space()));
    }
    // After that: what becomes populated from here on was written, and is in the log.
    if (is_diff() && tracked) {
        options_.base->gather();
        copy_.layers.pending.add(options_.base->written());
    } else {
        expect_all_to_have_changed();
    }
    return {};
}

/// Besides what is populated now there is what was something in the file before, and has been given back since.
void Snapshotter::expect_all_to_have_changed() {
    const GuestMemory& memory = guest_.memory();
    memory.collect_populated(copy_.layers.pending);
    if (!options_.file.base)
        return;
    const snapshot::MemoryArea area(options_.file.base->regions);
    for (const snapshot::Chunk& chunk : options_.file.base->chunks) {
        const FrameNumber frame = area.frame_of_page(std::uint64_t{chunk.index} * snapshot::chunk_pages);
        if (frame.value < memory.address_space().value) // what the guest boots is above it
            copy_.layers.pending.set({frame, {snapshot::chunk_pages}});
    }
}

/// Carries out what the event leads to.
void Snapshotter::tell(const protocol::PrecopyEvent& event) {
    CHECK(thread_.loop().owned_here());
    const auto effect = protocol::step(copy_, event);
    if (!effect)
        return;
    switch (effect->kind) {
    case Effect::gather:
        return gather();
    case Effect::publish:
        return ask_for_hints();
    case Effect::close:
        if (!options_.sweep)
            return tell({Event::closed, {}});
        return hints_.close([this] {
            if (finished_)
                tell({Event::closed, {}});
        });
    case Effect::freeze:
        return freeze();
    case Effect::send:
        return write(effect->pages);
    case Effect::hand_over:
        return complete();
    case Effect::run_on:
        guest_.run_on();
        return end(std::unexpected(*std::exchange(failure_, std::nullopt)));
    case Effect::drained:
        return;
    }
}

void Snapshotter::gather() {
    guest_.gather(copy_.layers.log);
    if (options_.base != nullptr && options_.base->tracks())
        options_.base->gather();
    tell({Event::gathered, {}});
    if (copy_.phase == protocol::Precopy<PageBitmap>::Phase::final_copy)
        save_state();
}

void Snapshotter::ask_for_hints() {
    if (!options_.sweep) {
        tell({Event::published, {}});
        return tell({Event::finish, {}});
    }
    hints_.ask([this](bool published) {
        if (!finished_)
            return;
        tell({Event::published, {}});
        published ? hints_.wait() : tell({Event::finish, {}});
    });
}

std::chrono::milliseconds Snapshotter::use_hint(PageRange range) {
    const std::uint64_t spared = bytes_of(copy_.layers.pending.count(range)).value;
    tell({Event::hinted, range});
    return std::chrono::milliseconds(spared * 1000 / slow_disk.value);
}

void Snapshotter::freeze() {
    if (cancelled_)
        return give_up({"the snapshot was cancelled"});
    guest_.freeze(later([this](Result<> frozen) {
        if (!frozen)
            return give_up(cancelled_ ? Error{"the snapshot was cancelled"} : std::move(frozen).error());
        frozen_ = Clock::now();
        tell({Event::frozen, {}});
    }));
}

void Snapshotter::save_state() {
    report_.omitted = bytes_of(copy_.layers.hinted.count());
    guest_.save(later([this](Result<std::vector<std::byte>> saved) {
        if (!saved)
            return give_up(std::move(saved).error());
        state_ = *std::move(saved);
        if (is_diff()) {
            if (auto written = write_holes(); !written)
                return give_up(std::move(written).error());
        }
        copy();
    }));
}

/// Writes holes: what is free or was given back reads as zero in a diff too, whatever was there before. Such pages are
/// not read: in a memfd that would allocate them again.
Result<> Snapshotter::write_holes() {
    const GuestMemory& memory = guest_.memory();
    PageBitmap populated = TRY(PageBitmap::create(memory.address_space()));
    PageBitmap holes = TRY(PageBitmap::create(memory.address_space()));
    memory.collect_populated(populated);
    holes.add(copy_.layers.pending);
    holes.remove(populated);
    copy_.layers.pending.remove(holes);
    holes.add(copy_.layers.hinted);
    Result<> written;
    for_each_run(holes, [&](PageRange run) {
        if (written)
            written = writer_->drop(run);
    });
    return written;
}

void Snapshotter::copy() {
    if (cancelled_)
        return give_up({"the snapshot was cancelled"});
    tell({Event::send, {{}, piece}});
}

void Snapshotter::write(PageRange run) {
    const auto bytes = guest_.memory().span(address_of(run.first), bytes_of(run.count));
    CHECK(bytes); // what is pending lies in one region
    if (auto written = writer_->add(run, *bytes); !written)
        return give_up(std::move(written).error());
    later([this] { copy(); })();
}

/// Completes the snapshot. Everything is in the file's pages: a guest that goes on need not wait for the disk. One that
/// ends here does not end before the file is there.
void Snapshotter::complete() {
    const auto whole = options_.file.base ? writer_->add_unchanged(guest_.memory()) : Result<>();
    if (!whole) {
        guest_.run_on();
        return end(std::unexpected(whole.error()));
    }
    if (guest_.memory().lost()) { // and read as zero meanwhile
        guest_.run_on();
        return end(fail("the file that holds the guest's memory was cut short or cannot be read"));
    }
    report_.data = bytes_of(writer_->written());
    report_.hold = since(frozen_);
    if (options_.stop)
        guest_.stop_tracking();
    else
        guest_.run_on();
    syncing_ = true;
    guest_.sync(later([this](Result<> synced) { disks_synced(std::move(synced)); }));
}

void Snapshotter::disks_synced(Result<> synced) {
    syncing_ = false;
    if (!synced) {
        guest_.forget_sync();
        if (options_.stop)
            guest_.run_on();
        return end(std::unexpected(std::move(synced).error()));
    }
    const auto finished = std::move(*writer_).finish(guest_.config(), std::move(state_));
    if (finished && options_.base != nullptr)
        saved(*finished);
    report_.duration = since(began_);
    if (options_.stop)
        finished ? guest_.gone() : guest_.run_on();
    if (!finished)
        return end(std::unexpected(finished.error()));
    end(report_);
}

void Snapshotter::saved(const snapshot::Digest& identity) {
    if (!options_.file.memory_path.empty())
        return options_.base->saved(writer_->image());
    options_.base->set_lineage(
        snapshot::followed_by(options_.lineage, options_.file.path, options_.file.parent.has_value()));
    options_.base->saved(snapshot::Parent{.name = snapshot::FilePath(options_.file.path).name, .identity = identity});
}

void Snapshotter::give_up(Error error) {
    failure_ = std::move(error);
    guest_.stop_tracking();
    tell({Event::cancel, {}});
}

void Snapshotter::end(Result<SnapshotReport> result) {
    writer_.reset();
    if (!result && began_tracking_)
        options_.base->stop(); // it costs the guest, and there is nothing to be a diff of
    std::exchange(finished_, nullptr)(std::move(result));
}

} // namespace aerate
