#include "web/desk.hpp"

#include "base/log.hpp"
#include "base/overloaded.hpp"
#include "control/host_metrics.hpp"
#include "control/schema_json.hpp"

#include <memory>
#include <utility>

namespace aerate::web {
namespace {

Response refusal(const Refusal& refused) {
    Response response = failure(refused.status, refused.words);
    response.allow = refused.allow;
    response.challenge = refused.advice;
    return response;
}

Response json_response(std::string body) {
    return {.body = std::move(body)};
}

/// Answers for a source that drops what it was given.
class Pending {
public:
    explicit Pending(Desk::Respond respond)
        : respond_(std::move(respond)) {}
    Pending(Pending&&) noexcept = default;
    Pending& operator=(Pending&&) = delete;
    ~Pending() {
        if (respond_)
            respond_(failure(502, "the VM's monitor did not answer: nobody knows what came of it"));
    }
    void operator()(Response response) {
        if (auto respond = std::exchange(respond_, nullptr))
            respond(std::move(response));
    }

private:
    Desk::Respond respond_;
};

template <typename T>
Response object_response(const T& object) {
    const auto json = control::print_object(object);
    return json ? json_response(control::print_json(*json)) : failure(500, json.error().message);
}

std::string_view verb_of(const Action& action) {
    return std::visit(Overloaded{[](const Sweep&) { return "sweep"; }, [](const Squeeze&) { return "squeeze"; },
                                 [](const Pause&) { return "pause"; }, [](const Resume&) { return "resume"; },
                                 [](const SetBalloon&) { return "set the balloon of"; }},
                      action);
}

} // namespace

Response failure(unsigned status, std::string_view words) {
    return {.status = status, .body = control::print_json({{"fault_message", words}})};
}

std::string Desk::print_status() const {
    const auto json = control::print_object(source_.status());
    return json ? control::print_json(*json) : "{}";
}

std::string Desk::print_event() const {
    return "event: status\ndata: " + print_status() + "\n\n";
}

void Desk::answer(const Request& request, const std::string& caller, Respond respond) {
    if (const auto refused = refuse_host(access_, request))
        return respond(refusal(*refused));
    auto wanted = route(request);
    if (!wanted)
        return respond(refusal(wanted.error()));
    if (const auto refused = refuse_caller(access_, request, *wanted))
        return respond(refusal(*refused));
    std::visit(Overloaded{
                   [&](const GetFile& get) {
                       respond({.content_type = get.file->content_type, .body = std::string(get.file->content)});
                   },
                   [&](const GetStatus&) { respond(json_response(print_status())); },
                   [&](const GetHistory&) { respond(json_response(source_.history())); },
                   [&](const GetEvents&) { respond({.content_type = "text/event-stream", .events = true}); },
                   [&](const GetMetrics&) {
                       respond({.content_type = "text/plain; version=0.0.4; charset=utf-8",
                                .body = control::print_host_metrics(source_.status())});
                   },
                   [&](const GetDecisions& get) {
                       auto decisions = source_.decisions(get.vm);
                       respond(decisions ? json_response(*std::move(decisions))
                                         : failure(decisions.error().http_status, decisions.error().message));
                   },
                   [&](const GetMap& get) {
                       source_.map(get.vm, [pending = Pending(std::move(respond))](Outcome<MemoryMap> map) mutable {
                           pending(map ? object_response(*map) : failure(map.error().http_status, map.error().message));
                       });
                   },
                   [&](const Act& act) {
                       log::info("{} has aerate host {} VM {}", caller, verb_of(act.action), act.vm);
                       source_.act(act.vm, act.action,
                                   [pending = Pending(std::move(respond))](Outcome<std::string> words) mutable {
                                       pending(words ? json_response(control::print_json({{"words", *words}}))
                                                     : failure(words.error().http_status, words.error().message));
                                   });
                   },
               },
               *wanted);
}

} // namespace aerate::web
