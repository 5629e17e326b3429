#include "host/pulse.hpp"

#include "control/schema_json.hpp"

#include <algorithm>

namespace aerate::hostd {

Result<Pulse> read_pulse(std::string_view json) {
    return control::read_object<Pulse>(TRY(control::parse_json(json)), control::Unknown::ignored);
}

Result<control::VmStatus> read_status(std::string_view json) {
    return control::parse_status(json);
}

Pulse pulse_of(const control::VmStatus& status) {
    Pulse pulse{.state = status.state, .size = status.memory.guest_size, .resident = status.memory.resident};
    if (const auto& balloon = status.balloon) {
        pulse.target = balloon->target;
        pulse.actual = balloon->actual;
        if (balloon->driver)
            pulse.statistics = balloon->statistics;
        pulse.statistics_age = balloon->statistics_age;
    }
    const auto counter =
        std::ranges::find(status.counters, std::string_view("balloon_unasked_deflations"), &control::Counter::name);
    if (counter != status.counters.end())
        pulse.unasked_deflations = counter->value;
    return pulse;
}

Traits traits_of(const control::VmStatus& status) {
    return {.name = status.name,
            .pid = status.pid,
            .whole_vm = status.vcpu_count != 0,
            .overhead = status.memory.monitor_overhead.value_or(ByteCount{})};
}

} // namespace aerate::hostd
