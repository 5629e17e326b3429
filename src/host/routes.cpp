#include "host/routes.hpp"

#include "control/schema_json.hpp"

#include <optional>

namespace aerate::hostd {
namespace {

using control::Failure;
using control::HttpReply;

HttpReply failure(unsigned status, std::string message) {
    return control::print_reply(Failure{status, std::move(message)});
}
HttpReply failure(const Failure& failed) {
    return control::print_reply(failed);
}

template <typename T>
HttpReply print(const T& answer) {
    const auto json = control::print_object(answer);
    if (!json)
        return failure(500, json.error().message);
    return {200, "application/json", control::print_json(*json)};
}

template <typename T>
Result<T> read(std::string_view body) {
    return control::read_object<T>(TRY(control::parse_json(body.empty() ? "{}" : body)));
}

HttpReply change(Service& service, std::string_view name, std::string_view body) {
    const auto wish = read<PolicyChange>(body);
    if (!wish)
        return failure(400, wish.error().message);
    const auto done = service.change(name, *wish);
    return done ? control::print_reply(control::Done{}) : failure(done.error());
}

HttpReply admit(Service& service, std::string_view body) {
    const auto question = read<AdmissionQuestion>(body);
    if (!question)
        return failure(400, question.error().message);
    if (question->floor > question->size)
        return failure(400, "admission.floor_bytes: is more than size_bytes");
    return print(service.admit(*question));
}

HttpReply decisions(const Service& service, std::string_view name) {
    const auto found = service.decisions(name);
    return found ? print(*found) : failure(found.error());
}

/// Returns `text` without a prefix and a suffix that it must have.
std::optional<std::string_view> between(std::string_view text, std::string_view prefix, std::string_view suffix) {
    if (text.size() < prefix.size() + suffix.size() || !text.starts_with(prefix) || !text.ends_with(suffix))
        return std::nullopt;
    return text.substr(prefix.size(), text.size() - prefix.size() - suffix.size());
}

HttpReply only(std::string_view method) {
    return failure(405, fmt::format("this path is asked with {}", method));
}

} // namespace

HttpReply answer(Service& service, std::string_view method, std::string_view target, std::string_view body) {
    const bool get = method == "GET";
    if (get && !body.empty())
        return failure(400, "a GET has no body here");
    if (target == "/host/status")
        return get ? print(service.status()) : only("GET");
    if (target == "/host/history")
        return get ? print(service.history()) : only("GET");
    if (target == "/host/admission")
        return method == "POST" ? admit(service, body) : only("POST");
    if (const auto name = between(target, "/host/vms/", "/decisions"))
        return get ? decisions(service, *name) : only("GET");
    if (const auto name = between(target, "/host/vms/", ""))
        return method == "PUT" ? change(service, *name, body) : only("PUT");
    return failure(404, "no such path");
}

} // namespace aerate::hostd
