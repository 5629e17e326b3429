#include "control/metrics.hpp"

#include "control/metrics_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>

namespace aerate::control {
namespace {

void write_memory(MetricsWriter& writer, const MemoryByState& memory) {
    writer.gauge("memory_guest_size_bytes", "RAM that the guest was given.", memory.guest_size.value);
    if (memory.monitor_overhead)
        writer.gauge("monitor_overhead_bytes", "Resident memory of the monitor, guest RAM left out.",
                     memory.monitor_overhead->value);
    const std::array<std::pair<const char*, ByteCount>, 5> states{{{"resident", memory.resident},
                                                                   {"shared", memory.shared},
                                                                   {"ballooned", memory.ballooned},
                                                                   {"reported", memory.reported},
                                                                   {"hinted", memory.hinted}}};
    writer.family("memory_bytes", "gauge", "Guest memory by state. The states overlap.");
    for (const auto& [state, bytes] : states)
        writer.sample(bytes.value, {{"state", state}});
}

void write_balloon(MetricsWriter& writer, const BalloonStatus& balloon) {
    writer.gauge("balloon_target_bytes", "Size that the balloon was asked to have.", balloon.target.value);
    writer.gauge("balloon_actual_bytes", "Size that the guest says the balloon has.", balloon.actual.value);
    if (balloon.statistics_age)
        writer.gauge("guest_statistics_age_seconds", "How long ago the guest said how it is.",
                     static_cast<std::uint64_t>(balloon.statistics_age->count() / 1000));
    // Old numbers are none: a scrape has the time of the scrape.
    if (balloon.statistics.empty() || balloon.statistics_old)
        return;
    writer.family("guest_statistic", "gauge", "The guest's own statistics, unverified: bytes or events.");
    for (const auto& [name, value] : balloon.statistics)
        writer.sample(value, {{"name", name}});
}

void write_counters(MetricsWriter& writer, std::vector<Counter> counters) {
    std::ranges::sort(counters, {}, [](const Counter& counter) { return std::tie(counter.name, counter.labels); });
    std::string_view current;
    for (const Counter& counter : counters) {
        if (counter.name != current)
            writer.family(counter.name + "_total", "counter", counter.help);
        current = counter.name;
        writer.sample(counter.value, counter.labels);
    }
}

} // namespace

std::string print_metrics(const VmStatus& status) {
    MetricsWriter writer({{"vm", status.name}});
    writer.family("vm_state", "gauge", "1 for the state that the VM is in.");
    for (const auto& [name, state] : {std::pair{"not_started", VmState::not_started},
                                      {"running", VmState::running},
                                      {"paused", VmState::paused},
                                      {"crashed", VmState::crashed},
                                      {"receiving", VmState::receiving},
                                      {"waiting", VmState::waiting}})
        writer.sample(status.state == state ? 1 : 0, {{"state", name}});
    writer.gauge("vcpus", "Virtual processors.", status.vcpu_count);
    writer.gauge("uptime_seconds", "Time since the VM was started.",
                 fmt::format("{}.{:03}", status.uptime.count() / 1000, status.uptime.count() % 1000));
    write_memory(writer, status.memory);
    if (status.balloon)
        write_balloon(writer, *status.balloon);
    write_counters(writer, status.counters);
    return writer.take();
}

} // namespace aerate::control
