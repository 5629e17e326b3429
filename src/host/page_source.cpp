#include "host/page_source.hpp"

#include "base/check.hpp"
#include "base/overloaded.hpp"
#include "base/printable.hpp"
#include "control/runtime_directory.hpp"
#include "control/schema_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace aerate::hostd {
namespace {

using control::Failure;
using web::Outcome;

constexpr std::uint64_t bytes_of_mib = 1U << 20;
constexpr std::size_t words_max = 300; ///< of what a monitor says

template <typename T>
std::string json_text(const T& object) {
    const auto json = control::print_object(object);
    return json ? control::print_json(*json) : "{}";
}

/// Returns what a monitor's answer says, or nothing if it is none.
template <typename T>
std::optional<T> answer_in(const std::string& body) {
    const auto json = control::parse_json(body);
    if (!json)
        return std::nullopt;
    auto object = control::read_object<T>(*json, control::Unknown::ignored);
    return object ? std::optional(*std::move(object)) : std::nullopt;
}

/// Returns a monitor's words for its refusal.
std::string fault_in(const std::string& body) {
    const auto json = control::parse_json(body);
    if (json && json->is_object())
        if (const auto found = json->find("fault_message"); found != json->end() && found->is_string())
            return printable(found->get_ref<const std::string&>(), words_max);
    return "its monitor gave no reason";
}

template <typename Status>
std::string words_of_gain(const std::string& vm, std::string_view verb, const std::string& body) {
    const auto done = answer_in<Status>(body);
    if (!done || done->resident_before == ByteCount{}) // no guest that runs has nothing
        return fmt::format("{}: {}, but what came of it cannot be read", vm, verb);
    const std::uint64_t before = done->resident_before.value / bytes_of_mib;
    const std::uint64_t after = done->resident_after.value / bytes_of_mib;
    return fmt::format("{}: {}. Resident {} MiB, before {} MiB: the host has {} MiB more", vm, verb, after, before,
                       before > after ? before - after : 0);
}

/// Returns what to send for an action, or why it is not done.
Outcome<MonitorLink::Question> question_of(const control::HostVm& vm, const web::Action& action) {
    using Question = MonitorLink::Question;
    return std::visit(
        Overloaded{
            [](const web::Sweep&) -> Outcome<Question> { return Question{"PUT", "/aerate/sweep"}; },
            [&](const web::Squeeze&) -> Outcome<Question> {
                // A guest that says what it needs keeps that at hand; 64 MiB is what the command line leaves it.
                const std::uint64_t keep = std::max(vm.guard.value, std::uint64_t{64} << 20);
                return Question{"PUT", "/aerate/squeeze", fmt::format(R"({{"keep_bytes":{}}})", keep)};
            },
            [](const web::Pause&) -> Outcome<Question> { return Question{"PATCH", "/vm", R"({"state":"Paused"})"}; },
            [](const web::Resume&) -> Outcome<Question> { return Question{"PATCH", "/vm", R"({"state":"Resumed"})"}; },
            [&](const web::SetBalloon& balloon) -> Outcome<Question> {
                const std::uint64_t most = vm.size.value - std::min(vm.size.value, vm.floor.value);
                if (balloon.target.value % bytes_of_mib != 0)
                    return std::unexpected(Failure{400, "a balloon is set in whole MiB"});
                if (balloon.target.value > most)
                    return std::unexpected(Failure{
                        400, fmt::format("the floor of {} leaves its balloon {} MiB", vm.name, most / bytes_of_mib)});
                return Question{"PATCH", "/balloon",
                                fmt::format(R"({{"amount_mib":{}}})", balloon.target.value / bytes_of_mib)};
            },
        },
        action);
}

std::string words_of(const std::string& vm, const web::Action& action, const std::string& body) {
    return std::visit(
        Overloaded{
            [&](const web::Sweep&) { return words_of_gain<control::SweepStatus>(vm, "swept", body); },
            [&](const web::Squeeze&) { return words_of_gain<control::SqueezeStatus>(vm, "squeezed", body); },
            [&](const web::Pause&) { return vm + " stands still until it is resumed"; },
            [&](const web::Resume&) { return vm + " runs again"; },
            [&](const web::SetBalloon& balloon) {
                return fmt::format("{}: its balloon was asked to have {} MiB", vm, balloon.target.value / bytes_of_mib);
            },
        },
        action);
}

bool is_map(const web::MemoryMap& map) {
    constexpr std::string_view letters = ".rbphsd";
    return map.cells.size() <= web::map_cells_max &&
           std::ranges::all_of(map.cells, [&](char cell) { return letters.contains(cell); });
}

} // namespace

const control::HostVm* PageSource::find(std::string_view vm) const {
    const auto& vms = service_.status().vms;
    const auto found = std::ranges::find(vms, vm, &control::HostVm::name);
    return found == vms.end() ? nullptr : &*found;
}

std::string PageSource::history() const {
    return json_text(service_.history());
}

Outcome<std::string> PageSource::decisions(std::string_view vm) const {
    const auto found = service_.decisions(vm);
    if (!found)
        return std::unexpected(found.error());
    return json_text(*found);
}

void PageSource::ask(std::string_view vm, MonitorLink::Question question, std::chrono::milliseconds deadline,
                     Heard heard) {
    CHECK(loop_.owned_here());
    if (under_way_.size() >= under_way_max)
        return heard(std::unexpected(Failure{503, "too much is under way already; ask again later"}));
    const std::uint64_t number = ++last_;
    const auto link =
        under_way_.emplace(number, std::make_unique<MonitorLink>(loop_, control::socket_path(directory_, vm).string()));
    link.first->second->ask(
        std::move(question), deadline,
        [this, number, heard = std::move(heard)](Result<MonitorLink::Answer> answer) mutable {
            const auto done = under_way_.extract(number);
            if (!answer)
                heard(std::unexpected(Failure{502, "its monitor: " + answer.error().message}));
            else if (answer->status >= 400)
                heard(std::unexpected(Failure{answer->status >= 500 ? 502U : answer->status, fault_in(answer->body)}));
            else
                heard(std::move(answer->body));
        });
}

void PageSource::map(std::string_view vm, web::Answer<web::MemoryMap> answer) {
    if (find(vm) == nullptr)
        return answer(std::unexpected(Failure{404, "there is no such VM"}));
    ask(vm, {"GET", "/aerate/memory-map"}, map_deadline,
        [answer = std::move(answer)](Outcome<std::string> body) mutable {
            if (!body)
                return answer(std::unexpected(std::move(body).error()));
            auto map = answer_in<web::MemoryMap>(*body);
            if (map && is_map(*map))
                return answer(*std::move(map));
            answer(std::unexpected(Failure{502, "its monitor's map cannot be read"}));
        });
}

void PageSource::act(std::string_view vm, const web::Action& action, web::Answer<std::string> answer) {
    const control::HostVm* const known = find(vm);
    if (known == nullptr)
        return answer(std::unexpected(Failure{404, "there is no such VM"}));
    auto question = question_of(*known, action);
    if (!question)
        return answer(std::unexpected(std::move(question).error()));
    ask(vm, *std::move(question), action_deadline,
        [name = std::string(vm), action, answer = std::move(answer)](Outcome<std::string> body) mutable {
            if (body)
                answer(words_of(name, action, *body));
            else
                answer(std::unexpected(std::move(body).error()));
        });
}

} // namespace aerate::hostd
