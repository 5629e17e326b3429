#include "control/status.hpp"

#include "control/json.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <limits>

namespace aerate::control {
namespace {

constexpr std::array<std::pair<std::string_view, VmState>, 4> states{{{"Not started", VmState::not_started},
                                                                      {"Running", VmState::running},
                                                                      {"Paused", VmState::paused},
                                                                      {"Crashed", VmState::crashed}}};

/// The memory states in the order in which they are printed; JSON names end in "_bytes".
constexpr std::array<std::pair<std::string_view, ByteCount MemoryByState::*>, 6> memory_fields{{
    {"guest_size_bytes", &MemoryByState::guest_size},
    {"resident_bytes", &MemoryByState::resident},
    {"ballooned_bytes", &MemoryByState::ballooned},
    {"reported_bytes", &MemoryByState::reported},
    {"hinted_bytes", &MemoryByState::hinted},
    {"monitor_overhead_bytes", &MemoryByState::monitor_overhead},
}};

constexpr Range any{0, std::numeric_limits<std::uint64_t>::max()};

Json json_of(const Counter& counter) {
    Json json{{"name", counter.name}, {"help", counter.help}, {"value", counter.value}};
    for (const auto& [name, value] : counter.labels)
        json["labels"][name] = value;
    return json;
}

Result<Counter> counter_from(const Json& json) {
    Counter counter;
    Fields fields(json, "counters");
    fields.string("name", counter.name, Presence::required);
    fields.string("help", counter.help);
    fields.number("value", counter.value, any, Presence::required);
    if (const Json* labels = fields.child("labels")) {
        Fields texts(*labels, "labels");
        for (const auto& [name, value] : labels->items())
            texts.string(name, counter.labels.emplace_back(name, "").second);
        TRY(texts.finish());
    }
    TRY(fields.finish(Unknown::ignored));
    return counter;
}

Result<BalloonStatus> balloon_from(const Json& json) {
    BalloonStatus balloon;
    Fields fields(json, "balloon");
    fields.number("target_bytes", balloon.target.value, any, Presence::required);
    fields.number("actual_bytes", balloon.actual.value, any, Presence::required);
    if (const Json* statistics = fields.child("statistics")) {
        Fields numbers(*statistics, "statistics");
        for (const auto& [name, value] : statistics->items())
            numbers.number(name, balloon.statistics[name], any);
        TRY(numbers.finish());
    }
    TRY(fields.finish(Unknown::ignored));
    return balloon;
}

} // namespace

std::string_view name_of(VmState state) {
    for (const auto& [name, value] : states)
        if (value == state)
            return name;
    return "";
}

std::string print_status(const VmStatus& status) {
    Json json{{"name", status.name},
              {"pid", status.pid},
              {"state", name_of(status.state)},
              {"uptime_ms", status.uptime.count()},
              {"vcpu_count", status.vcpu_count}};
    for (const auto& [name, member] : memory_fields)
        json["memory"][std::string(name)] = (status.memory.*member).value;
    if (status.balloon)
        json["balloon"] = {{"target_bytes", status.balloon->target.value},
                           {"actual_bytes", status.balloon->actual.value},
                           {"statistics", status.balloon->statistics}};
    json["counters"] = Json::array();
    for (const Counter& counter : status.counters)
        json["counters"].push_back(json_of(counter));
    return print_json(json);
}

Result<VmStatus> parse_status(std::string_view text) {
    const Json json = TRY(parse_json(text));
    VmStatus status;
    Fields fields(json, "");
    fields.string("name", status.name, Presence::required);
    fields.number("pid", status.pid, {0, std::numeric_limits<int>::max()});
    fields.choice("state", status.state, states, Presence::required);
    fields.number("uptime_ms", status.uptime, {0, std::numeric_limits<std::int64_t>::max()});
    fields.number("vcpu_count", status.vcpu_count, {0, std::numeric_limits<unsigned>::max()});
    const Json* memory = fields.child("memory", Presence::required);
    const Json* balloon = fields.child("balloon");
    const Json* counters = fields.child("counters");
    TRY(fields.finish(Unknown::ignored));

    Fields sizes(*memory, "memory");
    for (const auto& [name, member] : memory_fields)
        sizes.number(name, (status.memory.*member).value, any);
    TRY(sizes.finish(Unknown::ignored));
    if (balloon != nullptr)
        status.balloon = TRY(balloon_from(*balloon));
    if (counters != nullptr && counters->is_array())
        for (const Json& counter : *counters)
            status.counters.push_back(TRY(counter_from(counter)));
    return status;
}

} // namespace aerate::control
