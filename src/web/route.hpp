// What a request asks for. Pure.
#pragma once

#include "web/files.hpp"
#include "web/request.hpp"
#include "web/source.hpp"

#include <expected>
#include <string>
#include <variant>

namespace aerate::web {

struct GetFile {
    const StaticFile* file; ///< never null
};
struct GetStatus {};
struct GetHistory {};
struct GetEvents {};
struct GetMetrics {};
struct GetDecisions {
    std::string vm;
};
struct GetMap {
    std::string vm;
};
struct Act {
    std::string vm;
    Action action;
};
using Route = std::variant<GetFile, GetStatus, GetHistory, GetEvents, GetMetrics, GetDecisions, GetMap, Act>;

/// Fails with 404, 405 and what is allowed, or 400 for a body that is not what the path takes.
[[nodiscard]] std::expected<Route, Refusal> route(const Request&);

[[nodiscard]] inline bool changes_something(const Route& route) {
    return std::holds_alternative<Act>(route);
}
/// Returns whether everybody may have it: it is in every copy of the program.
[[nodiscard]] inline bool is_public(const Route& route) {
    return std::holds_alternative<GetFile>(route);
}

} // namespace aerate::web
