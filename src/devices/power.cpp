#include "devices/power.hpp"

#include <algorithm>
#include <utility>

namespace aerate {
namespace {

constexpr Port keyboard_data{0x60};
constexpr Port keyboard_command{0x64};
constexpr std::uint8_t pulse_reset_line = 0xfe;
// "A byte waits to be read" for ever: Linux gives up on such a controller after a few reads, where an empty one costs
// it half a second of waiting for an answer. The bit that makes a reboot wait ("busy") is clear.
constexpr std::uint8_t output_buffer_full = 0x01;

} // namespace

Result<std::unique_ptr<Power>> Power::create(const PowerPorts& ports, Callbacks callbacks) {
    return std::unique_ptr<Power>(new Power(ports, std::move(callbacks), TRY(EventFd::create())));
}

Power::Power(const PowerPorts& ports, Callbacks callbacks, EventFd interrupt)
    : ports_(ports)
    , callbacks_(std::move(callbacks))
    , interrupt_(std::move(interrupt))
    , keyboard_data_{.value = 0xff}
    , keyboard_command_{.value = output_buffer_full, .trigger = pulse_reset_line, .action = &callbacks_.on_reset}
    , reset_{.trigger = ports.reset_value, .action = &callbacks_.on_reset}
    , sleep_control_{.trigger = ports.sleep_control_off, .action = &callbacks_.on_power_off} {}

bool Power::add_to(PioBus& bus) {
    return bus.add(keyboard_data, 1, keyboard_data_) && bus.add(keyboard_command, 1, keyboard_command_) &&
           bus.add(ports_.reset, 1, reset_) && bus.add(ports_.sleep_control, 1, sleep_control_) &&
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
