#include "control/router.hpp"

#include "control/schema_json.hpp"

#include <array>
#include <optional>
#include <utility>
#include <vector>

namespace aerate::control {
namespace {

using Parse = Result<Request> (*)(std::string_view body, std::string_view id);

struct Route {
    Endpoint endpoint;
    Parse parse;
};

template <typename T>
concept Wrapped = Readable<typename T::Body>;
template <typename T>
concept Identified = requires(const T& request) { request.id(); };

/// Parses a body. No body says the same as "{}", and what is required is missing from both. A body that comes where
/// none is asked for is refused rather than ignored.
template <typename T>
Result<Request> parse(std::string_view body, std::string_view id) {
    const Json json = TRY(parse_json(body.empty() ? "{}" : body));
    if constexpr (Wrapped<T>) {
        T request{TRY(read_object<typename T::Body>(json))};
        if constexpr (Identified<T>)
            if (request.id() != id)
                return fail("{}: is {}, and the path names another", T::id_field, request.id());
        return request;
    } else if constexpr (Described<T>) {
        return TRY(read_object<T>(json));
    } else {
        TRY(Fields(json, "").finish());
        return T{};
    }
}

/// Returns the route of a request that says itself where it goes.
template <typename T>
constexpr Route of{T::endpoint, parse<T>};

Result<Request> put_action(std::string_view body, std::string_view) {
    switch (TRY(read_object<Action>(TRY(parse_json(body)))).type) {
    case ActionType::instance_start:
        return InstanceStart{};
    case ActionType::send_ctrl_alt_del:
        return SendCtrlAltDel{};
    case ActionType::flush_metrics:
        break;
    }
    return FlushMetrics{};
}

/// PUT /snapshot/create, in Firecracker's words.
struct FirecrackerSnapshot {
    std::string snapshot_path{};
    std::string mem_file_path{};
    bool diff = false;
    static constexpr WordList<bool, 2> types{{{"Full", false}, {"Diff", true}}};
    static void describe(auto& fields, auto& self) {
        fields("snapshot_type", Word{self.diff, types});
        fields("snapshot_path", self.snapshot_path, mandatory);
        fields("mem_file_path", self.mem_file_path);
    }
};

Result<Request> create_snapshot(std::string_view body, std::string_view) {
    auto asked = TRY(read_object<FirecrackerSnapshot>(TRY(parse_json(body))));
    TakeSnapshot take;
    if (asked.mem_file_path != asked.snapshot_path)
        take.memory_path = std::move(asked.mem_file_path);
    take.path = std::move(asked.snapshot_path);
    take.diff = asked.diff;
    take.replace = take.quiet = true;
    return take;
}

/// PUT /snapshot/load, with what Firecracker says beyond LoadSnapshot.
struct FirecrackerLoad {
    struct Memory {
        enum class Type : std::uint8_t { file, fault_handler };
        Type type = Type::file;
        std::string path{};
        static constexpr std::string_view object = "mem_backend";
        static constexpr WordList<Type, 2> types{{{"File", Type::file}, {"Uffd", Type::fault_handler}}};
        static void describe(auto& fields, auto& self) {
            fields("backend_type", Word{self.type, types}, mandatory);
            fields("backend_path", self.path, mandatory.with(not_empty));
        }
    };
    LoadSnapshot load{};
    std::string mem_file_path{};
    std::optional<Memory> memory{};
    bool enable_diff_snapshots = false; // the older name of track_dirty_pages
    static void describe(auto& fields, auto& self) {
        LoadSnapshot::describe(fields, self.load);
        fields("mem_file_path", self.mem_file_path);
        fields("mem_backend", self.memory);
        fields("enable_diff_snapshots", self.enable_diff_snapshots);
    }
};

Result<Request> load_snapshot(std::string_view body, std::string_view) {
    auto asked = TRY(read_object<FirecrackerLoad>(TRY(parse_json(body))));
    if (asked.memory && !asked.mem_file_path.empty())
        return fail("mem_file_path: mem_backend says where memory is already; leave one of them out");
    const bool handled = asked.memory && asked.memory->type == FirecrackerLoad::Memory::Type::fault_handler;
    if (handled && (asked.load.verify || !asked.load.key_path.empty() || asked.load.record_working_set))
        return fail("mem_backend.backend_type: with \"Uffd\" there is nothing to verify, to authenticate or to read "
                    "ahead: leave out verify, key_path and record_working_set_s");
    (handled ? asked.load.fault_handler : asked.load.memory_path) =
        asked.memory ? std::move(asked.memory->path) : std::move(asked.mem_file_path);
    asked.load.track_dirty_pages |= asked.enable_diff_snapshots;
    asked.load.grants = TRY(absolute(std::move(asked.load.grants)));
    return std::move(asked.load);
}

/// Passes the metadata on as they are: whoever stores them reads them.
template <typename T>
Result<Request> take_metadata(std::string_view body, std::string_view) {
    return T{std::string(body)};
}

constexpr auto routes = std::to_array<Route>({
    of<GetInstance>,
    of<GetVersion>,
    of<GetVmConfig>,
    of<SetPaused>,
    of<GetMachineConfig>,
    of<PutMachineConfig>,
    of<PatchMachineConfig>,
    of<PutBootSource>,
    of<PutDrive>,
    of<PatchDrive>,
    of<PutNetworkInterface>,
    of<PatchNetworkInterface>,
    of<PutEntropy>,
    of<PutVsock>,
    of<PutCpuConfig>,
    of<PutMmdsConfig>,
    {PutMmds::endpoint, take_metadata<PutMmds>},
    {PatchMmds::endpoint, take_metadata<PatchMmds>},
    of<GetMmds>,
    of<PutLogger>,
    of<PutMetrics>,
    of<PutSerial>,
    {Action::endpoint, put_action},
    of<GetBalloon>,
    of<PutBalloon>,
    of<PatchBalloon>,
    of<GetBalloonStatistics>,
    of<PatchBalloonStatistics>,
    of<StartHinting>,
    of<GetHintingStatus>,
    of<StopHinting>,
    {{"PUT", "/snapshot/create"}, create_snapshot},
    {LoadSnapshot::endpoint, load_snapshot},
    of<Sweep>,
    of<Squeeze>,
    of<TakeSnapshot>,
    of<Migrate>,
    of<GetMigration>,
    of<CancelMigration>,
    of<GetStatus>,
    of<GetPulse>,
    of<GetMemoryMap>,
    of<GetEvents>,
    of<PutMemoryPolicy>,
    of<PutPermit>,
    of<Stop>,
    of<GetMetrics>,
});

/// What Firecracker has and Aerate does not, whatever the method.
constexpr auto refused_paths = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"/hotplug/memory", no_memory_hotplug},
    {"/pmem", no_pmem},
});

/// Whether the target is this path, or lies below it.
bool is_below(std::string_view target, std::string_view path) {
    return target.starts_with(path) && (target.size() == path.size() || target[path.size()] == '/');
}

/// Returns the id of a target that goes to `path`; empty where there is none. nullopt: it goes elsewhere.
std::optional<std::string_view> id_on(std::string_view target, std::string_view path) {
    if (!path.ends_with('/') || path.size() == 1)
        return target == path ? std::optional(std::string_view()) : std::nullopt;
    return target.starts_with(path) ? std::optional(target.substr(path.size())) : std::nullopt;
}

std::expected<Request, Failure> or_bad_request(Result<Request> request) {
    if (!request)
        return std::unexpected(Failure{400, std::move(request).error().message});
    return *std::move(request);
}

} // namespace

std::expected<Request, Failure> route(std::string_view method, std::string_view target, std::string_view body) {
    // As Firecracker, whose clients never send nothing, nor something with a GET.
    const bool ours = target.starts_with("/aerate/");
    if (!ours && (method == "PUT") == body.empty() && (method == "PUT" || method == "GET"))
        return std::unexpected(Failure{400, body.empty() ? "a PUT needs a body" : "a GET has no body"});
    bool known = false;
    for (const Route& candidate : routes) {
        const auto id = id_on(target, candidate.endpoint.path);
        if (id && candidate.endpoint.method == method)
            return or_bad_request(candidate.parse(body, *id));
        known |= id.has_value();
    }
    for (const auto& [path, why] : refused_paths)
        if (is_below(target, path))
            return std::unexpected(Failure{400, fmt::format("{}: {}", path, why)});
    if (known)
        return std::unexpected(Failure{405, "this path does not support that method"});
    return std::unexpected(Failure{404, "no such path"});
}

} // namespace aerate::control
