#include "machine/vm_counters.hpp"

#include <array>
#include <fstream>
#include <string>

namespace aerate {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

void add(control::VmStatus& status, std::string name, std::string help, std::uint64_t value, Labels labels = {}) {
    status.counters.push_back({std::move(name), std::move(help), value, std::move(labels)});
}

/// The resident size of this process, 0 when it can't be read. Not from statm: before Linux 6.2 its counters lag behind
/// by up to 64 pages for each thread and kind, which is as much as there is to count here.
[[nodiscard]] ByteCount process_resident() {
    std::ifstream file("/proc/self/smaps_rollup");
    for (std::string word; file >> word;)
        if (std::uint64_t kib = 0; word == "Rss:" && file >> kib)
            return ByteCount{kib << 10};
    return {};
}

void add_balloon_counters(control::VmStatus& status, const balloon::Counters& counters) {
    add(status, "balloon_inflated_pages", "Pages that entered the balloon", counters.inflated.value);
    add(status, "balloon_deflated_pages", "Pages that left the balloon", counters.deflated.value);
    add(status, "balloon_reported_pages", "Pages reported free and given back", counters.reported.value);
    add(status, "balloon_hinted_pages", "Pages hinted under a current command ID", counters.hinted.value);
    add(status, "balloon_discarded_pages", "Pages given back to the host", counters.discarded.value);
    add(status, "balloon_not_discarded_pages", "Pages that could not be given back", counters.not_discarded.value);
    add(status, "balloon_discard_calls", "System calls that gave pages back", counters.discard_calls);
    add(status, "balloon_discard_errors", "Discards that the host refused", counters.discard_errors);
    add(status, "balloon_hint_rounds", "Rounds of free page hinting", counters.hint_rounds);
    add(status, "balloon_hint_rounds_cut", "Rounds that the host had to end", counters.hint_rounds_cut);
    add(status, "balloon_stale_hints", "Hints older than the command ID, dropped", counters.stale_hint_chains);
    add(status, "balloon_unasked_deflations", "Times the guest took pages back unasked", counters.unasked_deflations);
    for (std::size_t reason = 0; reason < balloon::skip_reasons; ++reason)
        if (counters.skipped[reason] != 0)
            add(status, "guest_balloon_skipped", "Parts of the guest's balloon requests that made no sense",
                counters.skipped[reason],
                {{"reason", std::string(balloon::describe(static_cast<balloon::SkipReason>(reason)))}});
}

} // namespace

void add_transport(control::VmStatus& status, const std::string& name, const virtio::TransportCounters& counters) {
    const Labels device{{"device", name}};
    add(status, "virtio_kicks", "Queue notifications served", counters.kicks, device);
    add(status, "virtio_interrupts", "Interrupts for used buffers", counters.queue_interrupts, device);
    add(status, "virtio_config_interrupts", "Interrupts for changes of the configuration", counters.config_interrupts,
        device);
    add(status, "virtio_resets", "Device resets by the guest", counters.resets, device);
    add(status, "guest_ignored_register_writes", "Register writes that broke the virtio rules and were ignored",
        counters.ignored_writes, device);
    add(status, "guest_refused_queues", "Queues whose registers made no sense", counters.refused_queues, device);
    add(status, "guest_refused_features", "Feature sets that were not offered like that", counters.refused_features,
        device);
    for (std::size_t fault = 0; fault < counters.ring_faults.size(); ++fault)
        if (counters.ring_faults[fault] != 0)
            add(status, "guest_ring_faults", "Queues whose structure the guest broke: the device waits for its reset",
                counters.ring_faults[fault],
                {{"device", name}, {"fault", std::string(virtio::describe(static_cast<virtio::RingFault>(fault)))}});
}

void add_main_loop_counters(control::VmStatus& status, const Hardware& hardware) {
    for (const VirtioSlot& slot : hardware.slots) {
        if (slot.device->type() == virtio::DeviceType::balloon)
            continue;
        add_transport(status, slot.name, slot.transport->counters());
        if (slot.device->type() != virtio::DeviceType::block)
            continue;
        const auto& block = static_cast<const Block&>(*slot.device).counters();
        const Labels device{{"device", slot.name}};
        add(status, "block_reads", "Read requests", block.reads, device);
        add(status, "block_writes", "Write requests", block.writes, device);
        add(status, "block_read_bytes", "Bytes read", block.read.value, device);
        add(status, "block_written_bytes", "Bytes written", block.written.value, device);
        add(status, "block_flushes", "Flush requests", block.flushes, device);
        add(status, "block_discards", "Discard and write-zeroes requests", block.discards, device);
        add(status, "block_failed", "Requests that the host's disk failed", block.failed, device);
        add(status, "guest_block_refused", "Requests that made no sense", block.refused, device);
    }
    add(status, "serial_dropped_bytes", "Console output lost because nobody read it", hardware.serial->dropped().value);
}

void add_memory_and_balloon(control::VmStatus& status, Hardware& hardware) {
    const GuestMemory& memory = hardware.memory;
    status.memory.resident = memory.resident();
    // Pages of a snapshot that this guest shares with others of it are neither its own nor the monitor's.
    PageBitmap shared(memory.address_space());
    memory.collect_touched(shared);
    const ByteCount of_the_guest = status.memory.resident + bytes_of(shared.count());
    if (const ByteCount whole = process_resident(); whole > of_the_guest)
        status.memory.monitor_overhead = whole - of_the_guest;
    if (hardware.balloon == nullptr)
        return;
    for (const VirtioSlot& slot : hardware.slots)
        if (slot.device.get() == hardware.balloon)
            add_transport(status, slot.name, slot.transport->counters());

    add_balloon(status, memory, *hardware.balloon, hardware.balloon->counters(), hardware.counted_hints);
}

void add_balloon(control::VmStatus& status, const GuestMemory& memory, balloon::Balloon& balloon,
                 const balloon::Counters& counters, const balloon::CountingSink& counted_hints) {
    const balloon::MemoryState pages = balloon.memory_state();
    status.memory.ballooned = bytes_of(pages.ballooned);
    // A guest takes reported pages back by touching them: what is resident again is not free any more.
    status.memory.reported = bytes_of(pages.reported - memory.resident_within(balloon.page_states().reported));
    status.memory.hinted = bytes_of(counted_hints.unique());
    control::BalloonStatus shown{
        .target = bytes_of(balloon.target()), .actual = bytes_of(balloon.actual()), .statistics = {}};
    const auto& latest = balloon.statistics().latest();
    for (std::size_t tag = 0; tag < latest.values.size(); ++tag)
        if (latest.values[tag])
            shown.statistics.emplace(balloon::statistic_names[tag], *latest.values[tag]);
    status.balloon = std::move(shown);
    add_balloon_counters(status, counters);
}

} // namespace aerate
