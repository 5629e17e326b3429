// What the host's memory policy asks of a VM, and what it hears of it: docs/host-policy.md.
#include "base/check.hpp"
#include "machine/balloon_report.hpp"
#include "machine/machine.hpp"
#include "reclaim/memory_map.hpp"

#include <utility>

namespace aerate {

using control::conflict;

std::optional<control::Failure> Machine::target_is_in_use() const {
    if (waiting_for_sweep_ || waiting_for_squeeze_) // they move the target, and put it back
        return conflict("a sweep or a squeeze is under way, and ends by itself: try again");
    return std::nullopt;
}

void Machine::permit(const control::PutPermit& put, control::Server::Answer answer) {
    if (auto refusal = target_is_in_use())
        return answer(std::move(*refusal));
    const ByteCount floor = *with_floor(config_.memory_policy, config_.machine.mem_size).floor;
    on_balloon_thread(std::move(answer), [put, floor](Hardware& hardware) -> control::Reply {
        if (auto set = hardware.care->permit(whole_pages_of(put.target), put.time, floor); !set)
            return control::Failure{400, std::move(set).error().message};
        return control::Done{};
    });
}

void Machine::report_pulse(control::Server::Answer answer) {
    tell_state();
    control::Pulse pulse{
        .state = api_state(), .size = config_.machine.mem_size, .memory_policy = said(config_.memory_policy)};
    if (!hardware_ || state_ == State::expecting) // whose balloon thread does not answer so far
        return answer(std::move(pulse));
    on_balloon_thread(std::move(answer), [pulse = std::move(pulse)](Hardware& hardware) mutable -> control::Reply {
        pulse.resident = hardware.memory.resident_at_most();
        if (hardware.balloon != nullptr)
            add_balloon(pulse, *hardware.balloon, *hardware.care);
        return std::move(pulse);
    });
}

void Machine::report_memory_map(control::Server::Answer answer) {
    on_balloon_thread(std::move(answer), [](Hardware& hardware) -> control::Reply {
        auto map =
            memory_map_of(hardware.memory, {.states = hardware.balloon ? &hardware.balloon->page_states() : nullptr,
                                            .hinted = &hardware.counted_hints.pages()});
        if (!map)
            return control::Failure{500, std::move(map).error().message};
        return control::MemoryMap{map->cell, std::move(map->cells)};
    });
}

void Machine::report_events(control::Server::Answer answer) {
    tell_state();
    answer(control::EventStream{print_event(told_state_), options_.events});
}

std::string Machine::state_reason() const {
    return api_state() == control::VmState::crashed ? crash_ : troubles();
}

void Machine::tell_state() {
    CHECK(loop_.owned_here());
    control::StateEvent now{api_state(), state_reason()};
    if (now == told_state_)
        return;
    told_state_ = std::move(now);
    if (options_.events->heard())
        options_.events->publish(print_event(told_state_));
}

void Machine::tell(const BalloonNews& news) {
    tell_state(); // a device may wait for the host, or no longer
    publish(*options_.events, news);
}

} // namespace aerate
