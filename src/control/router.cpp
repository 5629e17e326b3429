#include "control/router.hpp"

#include "control/config_json.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace aerate::control {
namespace {

using Parse = Result<Request> (*)(std::string_view body);

struct Route {
    std::string_view method;
    std::string_view path;
    Parse parse;
};

/// A route without a body. One that comes with it is refused rather than ignored; "{}" says the same as nothing.
template <typename T>
Result<Request> bare(std::string_view body) {
    if (body.empty())
        return T{};
    const Json json = TRY(parse_json(body));
    TRY(Fields(json, "").finish());
    return T{};
}

Result<Request> put_machine_config(std::string_view body) {
    const Json json = TRY(parse_json(body));
    return PutMachineConfig{TRY(machine_config_from(json))};
}

Result<Request> patch_machine_config(std::string_view body) {
    const Json json = TRY(parse_json(body));
    return PatchMachineConfig{TRY(machine_config_update_from(json))};
}

Result<Request> put_boot_source(std::string_view body) {
    const Json json = TRY(parse_json(body));
    return PutBootSource{TRY(boot_source_from(json))};
}

Result<Request> put_drive(std::string_view id, std::string_view body) {
    const Json json = TRY(parse_json(body));
    Drive drive = TRY(drive_from(json));
    if (drive.drive_id != id)
        return fail("drive.drive_id: is {} but the path says otherwise", drive.drive_id);
    return PutDrive{std::move(drive)};
}

Result<Request> put_entropy(std::string_view body) {
    const Json json = TRY(parse_json(body));
    TRY(entropy_from(json));
    return PutEntropy{};
}

Result<Request> put_action(std::string_view body) {
    enum class Action : std::uint8_t { none, start, button };
    constexpr std::array<std::pair<std::string_view, Action>, 2> words{
        {{"InstanceStart", Action::start}, {"SendCtrlAltDel", Action::button}}};
    const Json json = TRY(parse_json(body));
    Fields fields(json, "");
    Action action = Action::none;
    fields.choice<Action>("action_type", action, words, Presence::required);
    TRY(fields.finish());
    if (action == Action::start)
        return InstanceStart{};
    return SendCtrlAltDel{};
}

Result<Request> patch_vm(std::string_view body) {
    constexpr std::array<std::pair<std::string_view, bool>, 2> words{{{"Paused", true}, {"Resumed", false}}};
    const Json json = TRY(parse_json(body));
    Fields fields(json, "");
    SetPaused request{};
    fields.choice<bool>("state", request.paused, words, Presence::required);
    if (!request.paused)
        fields.boolean("force", request.force);
    TRY(fields.finish());
    return request;
}

Result<Request> put_balloon(std::string_view body) {
    const Json json = TRY(parse_json(body));
    return PutBalloon{TRY(balloon_config_from(json))};
}

Result<Request> patch_balloon(std::string_view body) {
    const Json json = TRY(parse_json(body));
    Fields fields(json, "balloon");
    PatchBalloon request{};
    read_balloon_amount(fields, request.target, Presence::required);
    TRY(fields.finish());
    return request;
}

Result<Request> patch_balloon_statistics(std::string_view body) {
    const Json json = TRY(parse_json(body));
    Fields fields(json, "balloon");
    PatchBalloonStatistics request{};
    read_polling_interval(fields, request.polling_interval, Presence::required);
    TRY(fields.finish());
    return request;
}

Result<Request> start_hinting(std::string_view body) {
    StartHinting request;
    if (body.empty())
        return request;
    const Json json = TRY(parse_json(body));
    Fields fields(json, "");
    fields.boolean("acknowledge_on_stop", request.acknowledge_on_stop);
    TRY(fields.finish());
    return request;
}

Result<Request> put_stop(std::string_view body) {
    constexpr std::array<std::pair<std::string_view, Stop::How>, 2> words{
        {{"power-button", Stop::How::power_button}, {"kill", Stop::How::kill}}};
    const Json json = TRY(parse_json(body));
    Fields fields(json, "");
    Stop request{};
    fields.choice<Stop::How>("how", request.how, words, Presence::required);
    TRY(fields.finish());
    return request;
}

/// Firecracker keeps state and memory in two files; here they are one, which is complete or absent.
void read_single_file(Fields& fields, const std::string& path, std::string_view name) {
    std::string memory_path;
    fields.string(name, memory_path);
    if (!memory_path.empty() && memory_path != path)
        fields.error(name, "must be absent, or the same as snapshot_path: a snapshot is one file");
}

Result<Request> create_snapshot(std::string_view body) {
    enum class Type : std::uint8_t { full };
    constexpr std::array<std::pair<std::string_view, Type>, 1> types{{{"Full", Type::full}}};
    const Json json = TRY(parse_json(body));
    Fields fields(json, "");
    TakeSnapshot request;
    Type type = Type::full;
    fields.choice<Type>("snapshot_type", type, types);
    fields.string("snapshot_path", request.path, Presence::required);
    read_single_file(fields, request.path, "mem_file_path");
    request.replace = true;
    request.quiet = true;
    TRY(fields.finish());
    return request;
}

Result<Request> squeeze(std::string_view body) {
    const Json json = TRY(parse_json(body));
    Fields fields(json, "");
    Squeeze request;
    fields.mib("keep_mib", request.keep, Presence::required);
    TRY(fields.finish());
    return request;
}

Result<Request> take_snapshot(std::string_view body) {
    const Json json = TRY(parse_json(body));
    Fields fields(json, "");
    TakeSnapshot request;
    fields.string("snapshot_path", request.path, Presence::required);
    fields.boolean("sweep", request.sweep);
    fields.boolean("stop", request.stop);
    fields.boolean("replace", request.replace);
    fields.string("key_path", request.key_path);
    TRY(fields.finish());
    return request;
}

Result<Request> load_snapshot(std::string_view body) {
    const Json json = TRY(parse_json(body));
    Fields fields(json, "");
    LoadSnapshot request;
    fields.string("snapshot_path", request.path, Presence::required);
    read_single_file(fields, request.path, "mem_file_path");
    if (const Json* backend = fields.child("mem_backend")) {
        enum class Type : std::uint8_t { file };
        constexpr std::array<std::pair<std::string_view, Type>, 1> types{{{"File", Type::file}}};
        Fields memory(*backend, "mem_backend");
        Type type = Type::file;
        memory.choice<Type>("backend_type", type, types, Presence::required);
        read_single_file(memory, request.path, "backend_path");
        TRY(memory.finish());
    }
    fields.boolean("resume_vm", request.resume);
    fields.boolean("verify", request.verify);
    fields.string("key_path", request.key_path);
    TRY(fields.finish());
    return request;
}

Result<Request> migrate(std::string_view body) {
    const Json json = TRY(parse_json(body));
    Fields fields(json, "");
    Migrate request;
    fields.string("destination", request.destination, Presence::required);
    std::uint64_t downtime = static_cast<std::uint64_t>(request.downtime_limit.count());
    fields.number("downtime_limit_ms", downtime, {1, 600'000});
    request.downtime_limit = std::chrono::milliseconds(downtime);
    fields.mib("bandwidth_mib", request.bandwidth);
    std::uint64_t rounds = request.max_rounds;
    fields.number("max_rounds", rounds, {1, 1000});
    request.max_rounds = static_cast<unsigned>(rounds);
    fields.boolean("verify", request.verify);
    fields.boolean("auto_converge", request.auto_converge);
    fields.boolean("force", request.force);
    fields.string("lease_path", request.lease_path);
    fields.string("record_directory", request.record_directory);
    fields.string("compression", request.compression);
    std::uint64_t streams = request.streams;
    fields.number("streams", streams, {1, 16});
    request.streams = static_cast<unsigned>(streams);
    fields.mib("delta_cache_mib", request.delta_cache);
    fields.string("psk_path", request.psk_path);
    fields.string("tls_certificate_path", request.tls_certificate_path);
    fields.string("tls_key_path", request.tls_key_path);
    fields.string("tls_ca_path", request.tls_ca_path);
    fields.string("tls_name", request.tls_name);
    fields.boolean("plain", request.plain);
    TRY(fields.finish());
    return request;
}

constexpr std::array<Route, 29> routes{{
    {"GET", "/", bare<GetInstance>},
    {"GET", "/version", bare<GetVersion>},
    {"GET", "/vm/config", bare<GetVmConfig>},
    {"PATCH", "/vm", patch_vm},
    {"GET", "/machine-config", bare<GetMachineConfig>},
    {"PUT", "/machine-config", put_machine_config},
    {"PATCH", "/machine-config", patch_machine_config},
    {"PUT", "/boot-source", put_boot_source},
    {"PUT", "/entropy", put_entropy},
    {"PUT", "/actions", put_action},
    {"GET", "/balloon", bare<GetBalloon>},
    {"PUT", "/balloon", put_balloon},
    {"PATCH", "/balloon", patch_balloon},
    {"GET", "/balloon/statistics", bare<GetBalloonStatistics>},
    {"PATCH", "/balloon/statistics", patch_balloon_statistics},
    {"PATCH", "/balloon/hinting/start", start_hinting},
    {"GET", "/balloon/hinting/status", bare<GetHintingStatus>},
    {"PATCH", "/balloon/hinting/stop", bare<StopHinting>},
    {"PUT", "/snapshot/create", create_snapshot},
    {"PUT", "/snapshot/load", load_snapshot},
    {"PUT", "/aerate/sweep", bare<Sweep>},
    {"PUT", "/aerate/squeeze", squeeze},
    {"PUT", "/aerate/snapshot", take_snapshot},
    {"PUT", "/aerate/migration", migrate},
    {"GET", "/aerate/migration", bare<GetMigration>},
    {"DELETE", "/aerate/migration", bare<CancelMigration>},
    {"GET", "/aerate/status", bare<GetStatus>},
    {"PUT", "/aerate/stop", put_stop},
    {"GET", "/metrics", bare<GetMetrics>},
}};

std::expected<Request, Failure> or_bad_request(Result<Request> request) {
    if (!request)
        return std::unexpected(Failure{400, std::move(request).error().message});
    return *std::move(request);
}

} // namespace

std::expected<Request, Failure> route(std::string_view method, std::string_view target, std::string_view body) {
    constexpr std::string_view drives = "/drives/";
    if (target.starts_with(drives) && method == "PUT")
        return or_bad_request(put_drive(target.substr(drives.size()), body));
    const auto found = std::ranges::find_if(
        routes, [&](const Route& candidate) { return candidate.path == target && candidate.method == method; });
    if (found != routes.end())
        return or_bad_request(found->parse(body));
    if (target.starts_with(drives) || std::ranges::find(routes, target, &Route::path) != routes.end())
        return std::unexpected(Failure{405, "this path does not take that method"});
    return std::unexpected(Failure{404, "no such path"});
}

} // namespace aerate::control
