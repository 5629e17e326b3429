#include "policy/inputs.hpp"

namespace aerate::policy {
namespace {

constexpr milliseconds time_max{1LL << 50};

void bound(Guest& guest) {
    guest.size = std::min(guest.size, memory_max);
    guest.floor = std::min(guest.floor, guest.size);
    guest.shares = std::clamp(guest.shares, Shares{1}, shares_max);
    guest.target = std::min(guest.target, guest.size);
    guest.actual = std::min(guest.actual, guest.size);
    guest.resident = std::min(guest.resident, memory_max);
    if (auto& said = guest.said) {
        const ByteCount usable = guest.size - guest.actual;
        said->free = std::min(said->free, usable);
        said->available = std::min(said->available, usable);
        said->caches = std::min(said->caches, usable);
        said->age = std::clamp(said->age, milliseconds{}, time_max);
    }
}

} // namespace

Inputs bounded(Inputs inputs) {
    inputs.now = std::clamp(inputs.now, milliseconds{}, time_max);
    Host& host = inputs.host;
    host.total = std::min(host.total, memory_max);
    host.available = std::min(host.available, host.total);
    host.reserve = std::min(host.reserve, host.total);
    host.some = std::min(host.some, Permille{1000});
    host.full = std::min(host.full, Permille{1000});
    for (auto& [name, guest] : inputs.guests)
        bound(guest);
    return inputs;
}

} // namespace aerate::policy
