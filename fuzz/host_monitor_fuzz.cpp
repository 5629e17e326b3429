// A hostile monitor's answers to `aerate host`, and a configuration that makes no sense. Whatever the answers are, the
// law's invariants hold over them, and events are the same in pieces of any size. The first byte says which it is.
#include "base/check.hpp"
#include "host/configuration.hpp"
#include "host/event_reader.hpp"
#include "host/guest_of.hpp"
#include "host/host_memory.hpp"
#include "host/orders_of.hpp"
#include "policy/invariants.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::hostd {
namespace {

policy::VmName vm_name() {
    return {"vm"};
}

void decide(const Pulse& pulse) {
    policy::State state;
    Told told;
    for (const std::uint64_t available : {8ULL << 30, 600ULL << 20, 100ULL << 20}) {
        policy::Inputs inputs{.now = std::chrono::seconds(told.permitted ? 2 : 1),
                              .host = {.total = {16ULL << 30}, .available = {available}, .reserve = {512ULL << 20}}};
        inputs.guests[vm_name()] = guest_of(pulse, wishes_of(pulse, {}, {}), std::chrono::milliseconds(20), true);
        inputs = policy::bounded(std::move(inputs));
        const auto before = state.looked;
        const policy::Decisions decisions = policy::step(state, inputs);
        const auto elapsed =
            before ? std::max(policy::milliseconds(1), policy::since(*before, inputs.now)) : policy::milliseconds(1000);
        CHECK(!policy::broken_invariant(state, inputs, decisions, elapsed));
        const policy::Decision& decision = decisions.guests.at(vm_name());
        CHECK(orders_of(pulse, decision, {}, told, inputs.now).size() <= 2);
    }
}

std::vector<std::string> events(std::string_view text, std::size_t piece) {
    EventReader reader;
    std::vector<std::string> names;
    for (; !text.empty(); text.remove_prefix(std::min(text.size(), piece)))
        reader.feed(text.substr(0, piece), [&](std::string_view name) {
            CHECK(name.size() <= EventReader::longest_name);
            names.emplace_back(name);
        });
    return names;
}

void run(char kind, std::string_view text) {
    switch (kind) {
    case 'p':
        if (const auto pulse = read_pulse(text))
            decide(*pulse);
        break;
    case 's':
        if (const auto status = read_status(text))
            decide(pulse_of(*status));
        break;
    case 'c':
        if (const auto configuration = read_configuration(text, {16ULL << 30}))
            CHECK(!configuration->reserve || configuration->reserve->value < 16ULL << 30);
        break;
    case 'e':
        CHECK(events(text, 1) == events(text, 7));
        break;
    default:
        (void)read_memory_info(text);
        (void)read_pressure(text);
    }
}

} // namespace
} // namespace aerate::hostd

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > 0)
        aerate::hostd::run(static_cast<char>(data[0]), {reinterpret_cast<const char*>(data) + 1, size - 1});
    return 0;
}
