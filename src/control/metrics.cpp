#include "control/metrics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <tuple>

namespace aerate::control {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

std::string escaped(std::string_view text, bool in_quotes) {
    std::string out;
    for (const char c : text) {
        if (c == '\n')
            out += "\\n";
        else if (c == '\\' || (in_quotes && c == '"'))
            (out += '\\') += c;
        else
            out += c;
    }
    return out;
}

/// Writes families: all samples of one name together, below its HELP and TYPE, as the format demands.
class MetricsWriter {
public:
    explicit MetricsWriter(std::string_view vm)
        : vm_(vm) {}

    void family(std::string_view name, std::string_view type, std::string_view help) {
        name_ = name;
        fmt::format_to(std::back_inserter(text_), "# HELP aerate_{0} {1}\n# TYPE aerate_{0} {2}\n", name,
                       escaped(help, false), type);
    }
    template <typename Value>
    void sample(const Value& value, const Labels& labels = {}) {
        fmt::format_to(std::back_inserter(text_), "aerate_{}{{vm=\"{}\"", name_, escaped(vm_, true));
        for (const auto& [label, word] : labels)
            fmt::format_to(std::back_inserter(text_), ",{}=\"{}\"", label, escaped(word, true));
        fmt::format_to(std::back_inserter(text_), "}} {}\n", value);
    }
    template <typename Value>
    void gauge(std::string_view name, std::string_view help, const Value& value) {
        family(name, "gauge", help);
        sample(value);
    }
    std::string take() { return std::move(text_); }

private:
    std::string_view vm_;
    std::string name_;
    std::string text_;
};

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
    MetricsWriter writer(status.name);
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
