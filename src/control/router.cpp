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

enum class Body : bool { optional, required };

/// A route whose body is an object: `read` takes its fields, and one that nobody took is refused. Where the body may be
/// missing, nothing says the same as "{}".
template <auto read, Body presence = Body::required>
Result<Request> object(std::string_view body) {
    const Json json = TRY(parse_json(presence == Body::optional && body.empty() ? "{}" : body));
    Fields fields(json, "");
    Request request = TRY(read(fields));
    TRY(fields.finish());
    return request;
}

template <typename T>
Result<Request> nothing(Fields&) {
    return T{};
}
/// A route without a body. One that comes with it is refused rather than ignored.
template <typename T>
constexpr Parse bare = object<nothing<T>, Body::optional>;

/// A route whose body is a part of the configuration.
template <typename T, auto part_from>
Result<Request> part(std::string_view body) {
    return T{TRY(part_from(TRY(parse_json(body))))};
}

Result<Request> put_drive(std::string_view id, std::string_view body) {
    Drive drive = TRY(drive_from(TRY(parse_json(body))));
    if (drive.drive_id != id)
        return fail("drive.drive_id: is {} but the path says otherwise", drive.drive_id);
    return PutDrive{std::move(drive)};
}

Result<Request> put_entropy(std::string_view body) {
    TRY(entropy_from(TRY(parse_json(body))));
    return PutEntropy{};
}

Result<Request> put_action(Fields& fields) {
    enum class Action : std::uint8_t { none, start, button };
    constexpr std::array<std::pair<std::string_view, Action>, 2> words{
        {{"InstanceStart", Action::start}, {"SendCtrlAltDel", Action::button}}};
    Action action = Action::none;
    fields.choice("action_type", action, words, Presence::required);
    if (action == Action::start)
        return InstanceStart{};
    return SendCtrlAltDel{};
}

Result<Request> patch_vm(Fields& fields) {
    constexpr std::array<std::pair<std::string_view, bool>, 2> words{{{"Paused", true}, {"Resumed", false}}};
    SetPaused request{};
    fields.choice("state", request.paused, words, Presence::required);
    if (!request.paused)
        fields.boolean("force", request.force);
    return request;
}

Result<Request> start_hinting(Fields& fields) {
    StartHinting request;
    fields.boolean("acknowledge_on_stop", request.acknowledge_on_stop);
    return request;
}

Result<Request> put_stop(Fields& fields) {
    constexpr std::array<std::pair<std::string_view, Stop::How>, 2> words{
        {{"power-button", Stop::How::power_button}, {"kill", Stop::How::kill}}};
    Stop request{};
    fields.choice("how", request.how, words, Presence::required);
    return request;
}

/// Firecracker keeps state and memory in two files; here they are one, which is complete or absent.
void read_single_file(Fields& fields, const std::string& path, std::string_view name) {
    std::string memory_path;
    fields.string(name, memory_path);
    if (!memory_path.empty() && memory_path != path)
        fields.error(name, "must be absent, or the same as snapshot_path: a snapshot is one file");
}

Result<Request> create_snapshot(Fields& fields) {
    constexpr std::array<std::pair<std::string_view, bool>, 2> types{{{"Full", false}, {"Diff", true}}};
    TakeSnapshot request;
    fields.choice("snapshot_type", request.diff, types);
    fields.string("snapshot_path", request.path, Presence::required);
    read_single_file(fields, request.path, "mem_file_path");
    request.replace = true;
    request.quiet = true;
    return request;
}

Result<Request> squeeze(Fields& fields) {
    Squeeze request;
    fields.mib("keep_mib", request.keep, Presence::required);
    return request;
}

Result<Request> take_snapshot(Fields& fields) {
    TakeSnapshot request;
    fields.string("snapshot_path", request.path, Presence::required);
    fields.boolean("diff", request.diff);
    fields.boolean("track_dirty_pages", request.track_dirty_pages);
    fields.boolean("sweep", request.sweep);
    fields.boolean("stop", request.stop);
    fields.boolean("replace", request.replace);
    fields.string("key_path", request.key_path);
    return request;
}

Result<Request> load_snapshot(Fields& fields) {
    LoadSnapshot request;
    fields.string("snapshot_path", request.path, Presence::required);
    read_single_file(fields, request.path, "mem_file_path");
    if (const Json* backend = fields.child("mem_backend")) {
        enum class Type : std::uint8_t { file };
        constexpr std::array<std::pair<std::string_view, Type>, 1> types{{{"File", Type::file}}};
        Fields memory(*backend, "mem_backend");
        Type type = Type::file;
        memory.choice("backend_type", type, types, Presence::required);
        read_single_file(memory, request.path, "backend_path");
        TRY(memory.finish());
    }
    fields.boolean("resume_vm", request.resume);
    fields.boolean("prefetch", request.prefetch);
    std::chrono::seconds record{};
    fields.number("record_working_set_s", record, {1, 3600});
    if (record.count() > 0)
        request.record_working_set = record;
    fields.boolean("enable_diff_snapshots", request.track_dirty_pages); // Firecracker's older name
    fields.boolean("track_dirty_pages", request.track_dirty_pages);
    fields.boolean("verify", request.verify);
    fields.string("key_path", request.key_path);
    return request;
}

Result<Request> migrate(Fields& fields) {
    Migrate request;
    fields.string("destination", request.destination, Presence::required);
    fields.number("downtime_limit_ms", request.downtime_limit, {1, 600'000});
    fields.mib("bandwidth_mib", request.bandwidth);
    fields.number("max_rounds", request.max_rounds, {1, 1000});
    fields.boolean("verify", request.verify);
    fields.boolean("sweep", request.sweep);
    fields.boolean("auto_converge", request.auto_converge);
    fields.boolean("force", request.force);
    fields.string("lease_path", request.lease_path);
    fields.string("record_directory", request.record_directory);
    fields.string("compression", request.compression);
    fields.number("streams", request.streams, {1, 16});
    fields.mib("delta_cache_mib", request.delta_cache);
    fields.string("psk_path", request.psk_path);
    fields.string("tls_certificate_path", request.tls_certificate_path);
    fields.string("tls_key_path", request.tls_key_path);
    fields.string("tls_ca_path", request.tls_ca_path);
    fields.string("tls_name", request.tls_name);
    fields.boolean("plain", request.plain);
    return request;
}

constexpr std::array<Route, 29> routes{{
    {"GET", "/", bare<GetInstance>},
    {"GET", "/version", bare<GetVersion>},
    {"GET", "/vm/config", bare<GetVmConfig>},
    {"PATCH", "/vm", object<patch_vm>},
    {"GET", "/machine-config", bare<GetMachineConfig>},
    {"PUT", "/machine-config", part<PutMachineConfig, machine_config_from>},
    {"PATCH", "/machine-config", part<PatchMachineConfig, machine_config_update_from>},
    {"PUT", "/boot-source", part<PutBootSource, boot_source_from>},
    {"PUT", "/entropy", put_entropy},
    {"PUT", "/actions", object<put_action>},
    {"GET", "/balloon", bare<GetBalloon>},
    {"PUT", "/balloon", part<PutBalloon, balloon_config_from>},
    {"PATCH", "/balloon", part<PatchBalloon, balloon_amount_from>},
    {"GET", "/balloon/statistics", bare<GetBalloonStatistics>},
    {"PATCH", "/balloon/statistics", part<PatchBalloonStatistics, polling_interval_from>},
    {"PATCH", "/balloon/hinting/start", object<start_hinting, Body::optional>},
    {"GET", "/balloon/hinting/status", bare<GetHintingStatus>},
    {"PATCH", "/balloon/hinting/stop", bare<StopHinting>},
    {"PUT", "/snapshot/create", object<create_snapshot>},
    {"PUT", "/snapshot/load", object<load_snapshot>},
    {"PUT", "/aerate/sweep", bare<Sweep>},
    {"PUT", "/aerate/squeeze", object<squeeze>},
    {"PUT", "/aerate/snapshot", object<take_snapshot>},
    {"PUT", "/aerate/migration", object<migrate>},
    {"GET", "/aerate/migration", bare<GetMigration>},
    {"DELETE", "/aerate/migration", bare<CancelMigration>},
    {"GET", "/aerate/status", bare<GetStatus>},
    {"PUT", "/aerate/stop", object<put_stop>},
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
