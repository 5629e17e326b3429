#include "control/reply.hpp"

#include "control/metrics.hpp"
#include "control/schema_json.hpp"
#include "control/version.hpp"

namespace aerate::control {
namespace {

constexpr std::string_view json_type = "application/json";

HttpReply ok(const Json& json) {
    return {200, json_type, print_json(json)};
}

Json json_of(const Instance& instance) {
    return {{"app_name", "Aerate"},
            {"id", instance.id},
            {"state", name_of(instance.state)},
            {"vmm_version", firecracker_version}};
}

/// Prints the versions: Firecracker's clients look for "firecracker_version" and nothing else, and decide by it what
/// they may ask for.
Json json_of(const Version&) {
    return {{"firecracker_version", firecracker_version}, {"aerate_version", version}};
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

struct Printer {
    HttpReply operator()(const Done&) const { return {204, "", ""}; }
    HttpReply operator()(const Failure& failure) const {
        return {failure.http_status, json_type, print_json({{"fault_message", failure.message}})};
    }
    HttpReply operator()(const Metrics& metrics) const {
        return {200, "text/plain; version=0.0.4; charset=utf-8", print_metrics(metrics.status)};
    }
    HttpReply operator()(const Metadata& metadata) const { return {200, json_type, metadata.json}; }
    /// A connection makes more of it: see event_stream.hpp.
    HttpReply operator()(const EventStream& events) const { return {200, event_stream_type, events.first}; }
    HttpReply operator()(const VmStatus& status) const { return {200, json_type, print_status(status)}; }
    HttpReply operator()(const BalloonStatus& balloon) const { return ok(json_of(balloon)); }
    template <typename T>
    HttpReply operator()(const T& value) const {
        if constexpr (Readable<T>) {
            if (const auto json = print_object(value))
                return ok(*json);
            else
                return (*this)(Failure{500, json.error().message});
        } else {
            return ok(json_of(value));
        }
    }
};

} // namespace

unsigned status_on(std::string_view target, unsigned status) {
    const bool ours = target.starts_with("/aerate/");
    return !ours && (status == 404 || status == 405 || status == 409 || status == 500) ? 400 : status;
}

HttpReply print_reply(const Reply& reply) {
    return std::visit(Printer(), reply);
}

} // namespace aerate::control
