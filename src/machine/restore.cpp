#include "machine/restore.hpp"

#include "base/log.hpp"
#include "boot/memory_layout.hpp"

#include <algorithm>
#include <optional>

namespace aerate {

namespace {

/// A guest runs without one too.
std::vector<PageRange> working_set_of(const snapshot::WorkingSetPlace& place) {
    auto ranges = snapshot::read_working_set(place);
    if (!ranges)
        log::warning("{}", ranges.error().message);
    return std::move(ranges).value_or(std::vector<PageRange>());
}

} // namespace

Result<OpenedSnapshot> open_snapshot(const control::LoadSnapshot& load,
                                     const std::function<void(ByteCount, ByteCount)>& progress) {
    std::optional<snapshot::Key> key;
    if (!load.key_path.empty())
        key = TRY(snapshot::Key::load(load.key_path));
    auto file = TRY(snapshot::Snapshot::open(load.path, key));
    if (load.verify)
        TRY(file.verify_memory(progress));
    auto config = TRY(control::parse_vm_config(file.config()));
    // It slows a guest down, so the one who was saved does not decide it for its clones.
    config.machine.track_dirty_pages = load.track_dirty_pages;
    snapshot::WorkingSetPlace working_set{
        .snapshot_path = load.path, .identity = file.identity(), .regions = file.regions(), .key = std::move(key)};
    return OpenedSnapshot{.file = std::move(file),
                          .config = std::move(config),
                          .working_set = std::move(working_set),
                          .prefetch = load.prefetch,
                          .record_working_set = load.record_working_set};
}

Result<MemoryLayout> layout_of(const control::VmConfig& config, std::span<const MemoryRegion> saved) {
    auto regions = TRY(ram_regions(config.machine.mem_size));
    const bool same = std::ranges::equal(
        regions, saved, [](const auto& a, const auto& b) { return a.start == b.start && a.length == b.length; });
    if (!same)
        return fail("the saved memory does not have the layout of a VM with {} MiB",
                    config.machine.mem_size.value >> 20);
    return MemoryLayout{std::move(regions), config.machine.backing};
}

Result<SavedGuest> saved_guest(const OpenedSnapshot& opened) {
    auto layout = TRY(layout_of(opened.config, opened.file.regions()));
    auto state = TRY(state::decode(opened.file.state()));
    auto memory = TRY(GuestMemory::restore(layout, opened.file.pieces()));
    SavedGuest guest{.memory = std::move(memory), .state = std::move(state), .snapshot = opened.file.as_parent()};
    if (opened.record_working_set && layout.backing != Backing::anonymous)
        return fail("there is no working set to record: memory of this kind is read as a whole before the guest runs");
    if (opened.record_working_set)
        // Nothing is read ahead meanwhile: that would count as touched.
        guest.record = WorkingSetRecording{.place = opened.working_set, .after = *opened.record_working_set};
    else if (opened.prefetch)
        guest.working_set = working_set_of(opened.working_set);
    return guest;
}

} // namespace aerate
