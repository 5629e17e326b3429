#include "control/reply.hpp"

#include "control/config_json.hpp"
#include "control/metrics.hpp"
#include "control/version.hpp"

#include <nlohmann/json.hpp>

namespace aerate::control {
namespace {

constexpr std::string_view json_type = "application/json";

HttpReply ok(const Json& json) {
    return {200, json_type, print_json(json)};
}

Json json_of(const Instance& instance) {
    return {{"app_name", "Aerate"}, {"id", instance.id}, {"state", name_of(instance.state)}, {"vmm_version", version}};
}

/// Firecracker's clients look for "firecracker_version" and nothing else.
Json json_of(const Version&) {
    return {{"firecracker_version", version}, {"aerate_version", version}};
}

Json json_of(const BalloonStatus& balloon) {
    Json json(balloon.statistics);
    if (!json.is_object())
        json = Json::object();
    json["target_pages"] = whole_pages_of(balloon.target).value;
    json["actual_pages"] = whole_pages_of(balloon.actual).value;
    json["target_mib"] = balloon.target.value >> 20;
    json["actual_mib"] = balloon.actual.value >> 20;
    return json;
}

Json json_of(const HintingStatus& hinting) {
    Json json{{"host_cmd", hinting.host_cmd}};
    if (hinting.guest_cmd)
        json["guest_cmd"] = *hinting.guest_cmd;
    return json;
}

Json json_of(const SweepStatus& sweep) {
    return {{"hinted_bytes", sweep.hinted.value},
            {"discarded_bytes", sweep.discarded.value},
            {"small_bytes", sweep.small.value},
            {"batches", sweep.batches},
            {"longest_hold_us", sweep.longest_hold.count()},
            {"duration_us", sweep.duration.count()},
            {"cut", sweep.cut}};
}

Json json_of(const SqueezeStatus& squeeze) {
    return {{"taken_bytes", squeeze.taken.value},
            {"resident_before_bytes", squeeze.resident_before.value},
            {"resident_after_bytes", squeeze.resident_after.value},
            {"duration_us", squeeze.duration.count()},
            {"stopped_by", squeeze.stopped_by}};
}

Json json_of(const SnapshotStatus& snapshot) {
    Json json{{"data_bytes", snapshot.data.value},
              {"omitted_bytes", snapshot.omitted.value},
              {"hold_us", snapshot.hold.count()},
              {"duration_us", snapshot.duration.count()}};
    if (!snapshot.parent.empty())
        json["parent"] = snapshot.parent;
    return json;
}

Json json_of(const MigrationStatus& migration) {
    Json json{{"phase", migration.phase},
              {"round", migration.round},
              {"sent_bytes", migration.sent.value},
              {"content_bytes", migration.content.value},
              {"stored_bytes", migration.stored.value},
              {"compression", migration.compression},
              {"pages", migration.pages.value},
              {"delta_pages", migration.delta.value},
              {"zero_pages", migration.zero.value},
              {"hinted_pages", migration.hinted.value},
              {"pending_pages", migration.pending.value},
              {"dirty_pages_per_second", migration.dirty_rate.value},
              {"throughput_bytes_per_second", migration.throughput.value},
              {"throttle_percent", migration.throttle},
              {"expected_downtime_us", migration.expected_downtime.count()},
              {"downtime_us", migration.downtime.count()},
              {"duration_us", migration.duration.count()}};
    if (!migration.error.empty())
        json["error"] = migration.error;
    return json;
}

struct Printer {
    HttpReply operator()(const Done&) const { return {204, "", ""}; }
    HttpReply operator()(const Failure& failure) const {
        return {failure.http_status, json_type, print_json({{"fault_message", failure.message}})};
    }
    HttpReply operator()(const Metrics& metrics) const {
        return {200, "text/plain; version=0.0.4; charset=utf-8", print_metrics(metrics.status)};
    }
    HttpReply operator()(const VmStatus& status) const { return {200, json_type, print_status(status)}; }
    template <typename T>
    HttpReply operator()(const T& value) const {
        return ok(json_of(value));
    }
};

} // namespace

HttpReply print_reply(const Reply& reply) {
    return std::visit(Printer(), reply);
}

} // namespace aerate::control
