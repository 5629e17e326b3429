#include "platform/power.hpp"

#include <algorithm>
#include <utility>

namespace aerate {
Result<std::unique_ptr<Power>> Power::create(const PowerPorts& ports, Callbacks callbacks) {
    auto interrupt = TRY(EventFd::create()); // not within the new expression, which has its memory by then
    return std::unique_ptr<Power>(new Power(ports, std::move(callbacks), std::move(interrupt)));
}

Power::Power(const PowerPorts& ports, Callbacks callbacks, EventFd interrupt)
    : ports_(ports)
    , callbacks_(std::move(callbacks))
    , interrupt_(std::move(interrupt))
    , reset_{.trigger = ports.reset_value, .action = &callbacks_.on_reset}
    , sleep_control_{.trigger = ports.sleep_control_off, .action = &callbacks_.on_power_off} {}

bool Power::add_to(PioBus& bus) {
    return bus.add(ports_.reset, 1, reset_) && bus.add(ports_.sleep_control, 1, sleep_control_) &&
           bus.add(ports_.sleep_status, 1, sleep_status_);
}

void Power::Register::read(std::uint64_t, std::span<std::byte> into) {
    std::ranges::fill(into, std::byte{value});
}

void Power::Register::write(std::uint64_t, std::span<const std::byte> from) {
    if (action != nullptr && *action && from.front() == std::byte{trigger})
        (*action)();
}

} // namespace aerate
