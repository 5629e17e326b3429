#include "machine/vm_counters.hpp"

#include "base/log.hpp"
#include "machine/balloon_report.hpp"
#include "memory/process_memory.hpp"

#include <array>
#include <string>

namespace aerate {

void add_main_loop_counters(control::VmStatus& status, const Hardware& hardware) {
    add_virtio_counters(status, hardware.slots, hardware.loop());
    status.counters.push_back(
        {"serial_dropped_bytes", "Console output lost because it was not read", hardware.serial->dropped().value, {}});
    status.counters.push_back({"log_held_back",
                               "Log messages that a guest or a caller caused, held back because there were too many",
                               log::held_back(),
                               {}});
    status.counters.push_back({"console_input_dropped_bytes",
                               "Typed while the guest took no input, and lost",
                               hardware.console ? hardware.console->dropped().value : 0,
                               {}});
}

void add_metadata_counters(control::VmStatus& status, const mmds::Counters& counters) {
    const auto add = [&status](const char* name, const char* help, const mmds::Counters::Count& count) {
        status.counters.push_back({name, help, count.load(), {}});
    };
    add("mmds_rx_frames", "Frames of the guest's for its metadata service", counters.frames_taken);
    add("mmds_rx_refused_frames", "Frames of the guest's that its metadata service did not take",
        counters.frames_refused);
    add("mmds_tx_frames", "Frames of its metadata service to the guest", counters.frames_sent);
    add("mmds_tx_bytes", "Bytes in those", counters.bytes_sent);
    add("mmds_connections_begun", "Connections of the guest's to its metadata service", counters.connections_begun);
    add("mmds_connections_ended", "Connections to the metadata service that have ended", counters.connections_ended);
    add("mmds_requests_without_token", "Requests for metadata that lacked the token of a session",
        counters.requests_no_token);
    add("mmds_requests_with_bad_token", "Requests for metadata whose token was not valid", counters.requests_bad_token);
}

void add_network_counters(control::VmStatus& status, const Hardware& hardware) {
    add_virtio_counters(status, hardware.slots, hardware.net_loop());
}

void add_memory_and_balloon(control::VmStatus& status, Hardware& hardware) {
    const GuestMemory& memory = hardware.memory;
    status.memory.shared = memory.shared();
    status.memory.resident = memory.resident() + status.memory.shared;
    status.memory.monitor_overhead = resident_outside(memory.regions());
    if (hardware.balloon == nullptr)
        return;
    add_virtio_counters(status, hardware.slots, hardware.balloon_thread.loop());
    add_balloon(status, memory, *hardware.balloon, hardware.counted_hints);
    add_care(status, *hardware.care);
    for (const VirtioSlot& slot : hardware.slots)
        if (slot.device.get() == hardware.balloon)
            status.balloon->driver = slot.transport->has_driver();
}

void add_balloon(control::VmStatus& status, const GuestMemory& memory, balloon::Balloon& balloon,
                 const balloon::CountingSink& counted_hints) {
    const balloon::MemoryState pages = balloon.memory_state();
    status.memory.ballooned = bytes_of(pages.ballooned);
    // A guest takes reported pages back by touching them: what is resident again is no longer free.
    status.memory.reported = bytes_of(pages.reported - memory.resident_within(balloon.page_states().reported));
    status.memory.hinted = bytes_of(counted_hints.unique());
    control::BalloonStatus shown{
        .target = bytes_of(balloon.target()), .actual = bytes_of(balloon.actual()), .driver = true, .statistics = {}};
    add_statistics(shown.statistics, balloon.statistics().latest());
    shown.statistics_age = balloon.statistics().age();
    shown.statistics_old = shown.statistics_age && *shown.statistics_age > balloon.statistics().age_limit();
    shown.reports_when_asked = balloon.hinting().answered_by_reports();
    shown.since_taken_back = balloon.since_taken_back();
    status.balloon = std::move(shown);
}

} // namespace aerate
