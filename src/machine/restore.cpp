#include "machine/restore.hpp"

#include "base/log.hpp"
#include "boot/memory_layout.hpp"
#include "machine/boot_region.hpp"

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

Result<snapshot::Snapshot> open_files(const control::LoadSnapshot& load, const std::optional<snapshot::Key>& key) {
    if (!load.fault_handler.empty())
        return snapshot::Snapshot::open_without_memory(load.path);
    return load.memory_path.empty() ? snapshot::Snapshot::open(load.path, key)
                                    : snapshot::Snapshot::open(load.path, load.memory_path);
}

} // namespace

Result<OpenedSnapshot> open_snapshot(const control::LoadSnapshot& load, const std::string& name,
                                     const snapshot::Progress& progress) {
    std::optional<snapshot::Key> key;
    if (!load.key_path.empty())
        key = TRY(snapshot::Key::load(load.key_path));
    auto file = TRY(open_files(load, key));
    std::optional<FaultHandlerPlace> fault_handler;
    if (!load.fault_handler.empty())
        fault_handler = FaultHandlerPlace{.socket = load.fault_handler, .offset = TRY(file.memory_offset())};
    if (load.verify && !file.authenticates_memory()) // which restore() does on what it copies
        TRY(file.verify_memory(progress));
    auto foreign = TRY(ForeignConfig::parse(file.config()));
    auto [config, files] =
        TRY(std::move(foreign).settle(load.grants, {.command = "aerate restore " + control::quoted(load.path),
                                                    .name = name,
                                                    .own_seal = key.has_value() || load.grants.as_saved,
                                                    .force = load.force}));
    files->bring(file.has_memory() ? TRY(boot_files_of(file)) : BootFiles{});
    // It slows a guest down, so the saved guest does not decide it for its clones.
    config.machine.track_dirty_pages = load.track_dirty_pages;
    snapshot::WorkingSetPlace working_set{.snapshot_path = load.path,
                                          .identity = file.identity(),
                                          .regions = ram_of(file.regions()),
                                          .key = std::move(key)};
    return OpenedSnapshot{.file = std::move(file),
                          .config = std::move(config),
                          .files = std::move(files),
                          .fault_handler = std::move(fault_handler),
                          .working_set = std::move(working_set),
                          .prefetch = load.prefetch,
                          .record_working_set = load.record_working_set,
                          .clock = load.clock_realtime ? ClockAfterRestore::catches_up : ClockAfterRestore::goes_on};
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

Result<SavedGuest> saved_guest(const OpenedSnapshot& opened, const snapshot::Progress& progress) {
    auto layout = TRY(layout_of(opened.config, ram_of(opened.file.regions())));
    auto state = TRY(state::decode(opened.file.state()));
    auto memory = TRY(opened.fault_handler ? GuestMemory::restore(layout, *opened.fault_handler)
                                           : opened.file.restore(layout, progress));
    SavedGuest guest{.memory = std::move(memory),
                     .state = std::move(state),
                     .files = opened.files,
                     .snapshot = opened.file.as_parent(),
                     .memory_file = opened.file.memory_file_image(),
                     .snapshot_path = opened.working_set.snapshot_path,
                     .lineage = {.latest = opened.file.as_parent().name, .ancestors = opened.file.ancestors()}};
    guest.clock = opened.clock;
    const bool mapped =
        layout.backing == Backing::anonymous && !opened.file.authenticates_memory() && !opened.fault_handler;
    if (opened.record_working_set && !mapped)
        return fail("there is no working set to record: memory of this kind, or of a snapshot with a key, is read as a "
                    "whole before the guest runs");
    if (opened.record_working_set)
        // Nothing is read ahead meanwhile: that would count as touched.
        guest.record = WorkingSetRecording{.place = opened.working_set, .after = *opened.record_working_set};
    else if (opened.prefetch && mapped)
        guest.working_set = working_set_of(opened.working_set);
    return guest;
}

} // namespace aerate
