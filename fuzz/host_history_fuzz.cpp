// A hostile history for `host replay`. What can be read is what is written again, no line of it makes the law break its
// invariants, and its pieces make no difference.
#include "base/check.hpp"
#include "control/host_history.hpp"
#include "policy/invariants.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace aerate::control {
namespace {

void decide(std::string_view text) {
    policy::State state;
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        const auto tick = read_host_tick(line);
        if (!tick)
            continue;
        CHECK(read_host_tick(print_host_tick(*tick)).value() == *tick);
        const auto before = state.looked;
        const policy::Decisions decisions = policy::step(state, tick->inputs);
        const policy::milliseconds now = state.looked.value();
        const auto elapsed =
            std::max(policy::milliseconds(1), policy::since(before.value_or(now - std::chrono::seconds(1)), now));
        CHECK(!policy::broken_invariant(state, tick->inputs, decisions, elapsed));
        CHECK(decisions.guests.size() == tick->inputs.guests.size());
    }
}

void replay(std::string_view text) {
    HostReplay whole;
    HostReplay pieces;
    bool fed = true;
    const bool read = whole.feed(text).has_value();
    for (; fed && !text.empty(); text.remove_prefix(std::min<std::size_t>(text.size(), 13)))
        fed = pieces.feed(text.substr(0, 13)).has_value();
    CHECK(read == fed);
    CHECK(whole.ticks() == pieces.ticks() && whole.different() == pieces.different());
    CHECK(whole.first_difference() == pieces.first_difference());
    CHECK(!read || whole.finish().has_value() == pieces.finish().has_value());
}

} // namespace
} // namespace aerate::control

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    aerate::control::decide(text);
    aerate::control::replay(text);
    return 0;
}
