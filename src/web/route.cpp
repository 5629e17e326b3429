#include "web/route.hpp"

#include "control/runtime_directory.hpp"
#include "control/schema_json.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

namespace aerate::web {
namespace {

using Routed = std::expected<Route, Refusal>;

Routed refuse_route(unsigned status, std::string_view words, std::string_view allow = {}) {
    return std::unexpected(Refusal{status, words, allow});
}
Routed not_found() {
    return refuse_route(404, "there is nothing at this path");
}

std::optional<Route> fixed_route(std::string_view path) {
    if (const StaticFile* const file = find_file(path))
        return GetFile{file};
    if (path == "/host/status")
        return GetStatus{};
    if (path == "/host/history")
        return GetHistory{};
    if (path == "/host/events")
        return GetEvents{};
    if (path == "/metrics")
        return GetMetrics{};
    return std::nullopt;
}

Routed set_balloon(const std::string& vm, std::string_view body) {
    const auto json = control::parse_json(body);
    if (!json)
        return refuse_route(400, "the body must be JSON: {\"target_bytes\": N}");
    const auto balloon = control::read_object<SetBalloon>(*json);
    if (!balloon)
        return refuse_route(400, "the body must be {\"target_bytes\": N} with a whole number, and nothing else");
    return Act{vm, *balloon};
}

Routed act(const std::string& vm, std::string_view verb, const Request& request) {
    static const std::array<std::pair<std::string_view, Action>, 4> verbs{
        {{"sweep", Sweep{}}, {"squeeze", Squeeze{}}, {"pause", Pause{}}, {"resume", Resume{}}}};
    if (verb == "balloon")
        return request.method == "PUT" ? set_balloon(vm, request.body)
                                       : refuse_route(405, "a balloon is set by PUT", "PUT");
    const auto* const found = std::ranges::find(verbs, verb, &std::pair<std::string_view, Action>::first);
    if (found == verbs.end())
        return not_found();
    if (request.method != "POST")
        return refuse_route(405, "this is asked for by POST", "POST");
    if (!request.body.empty())
        return refuse_route(400, "this takes no body");
    return Act{vm, found->second};
}

} // namespace

std::expected<Route, Refusal> route(const Request& request) {
    constexpr std::string_view of_vms = "/host/vms/";
    const std::string_view path = request.target;
    const bool reads = request.method == "GET";
    if (path.contains('?'))
        return refuse_route(400, "no path here takes a query; a token goes into the header Authorization");
    const auto get = [&](const Route& wanted) -> Routed {
        if (!reads)
            return refuse_route(405, "this can only be read", "GET");
        return request.body.empty() ? Routed(wanted) : refuse_route(400, "GET takes no body");
    };
    if (auto fixed = fixed_route(path))
        return get(*fixed);
    if (!path.starts_with(of_vms))
        return not_found();
    const std::string_view rest = path.substr(of_vms.size());
    const std::size_t slash = rest.find('/');
    const std::string_view vm = rest.substr(0, slash);
    if (slash == std::string_view::npos || !control::validate_vm_name(vm))
        return not_found();
    const std::string_view what = rest.substr(slash + 1);
    if (what == "decisions")
        return get(GetDecisions{std::string(vm)});
    if (what == "map")
        return get(GetMap{std::string(vm)});
    return act(std::string(vm), what, request);
}

} // namespace aerate::web
