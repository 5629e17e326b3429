#include "platform/keyboard_controller.hpp"

#include <algorithm>
#include <utility>

namespace aerate {
namespace {

namespace status {
constexpr std::uint8_t output_full = 1U << 0;
constexpr std::uint8_t system_ok = 1U << 2;
constexpr std::uint8_t command_last = 1U << 3;
constexpr std::uint8_t not_locked = 1U << 4;
} // namespace status

namespace command_byte {
constexpr std::uint8_t keyboard_interrupt = 1U << 0;
constexpr std::uint8_t system_ok = 1U << 2;
constexpr std::uint8_t keyboard_disabled = 1U << 4;
constexpr std::uint8_t translates = 1U << 6; ///< scan codes of set 2 into those of set 1
} // namespace command_byte

namespace controller {
constexpr std::uint8_t read_command_byte = 0x20;
constexpr std::uint8_t write_command_byte = 0x60;
constexpr std::uint8_t second_port_test = 0xa9;
constexpr std::uint8_t self_test = 0xaa;
constexpr std::uint8_t first_port_test = 0xab;
constexpr std::uint8_t disable_keyboard = 0xad;
constexpr std::uint8_t enable_keyboard = 0xae;
constexpr std::uint8_t read_output_port = 0xd0;
constexpr std::uint8_t write_output_port = 0xd1;
constexpr std::uint8_t write_keyboard_buffer = 0xd2;
constexpr std::uint8_t write_second_buffer = 0xd3;
constexpr std::uint8_t write_second_device = 0xd4;
constexpr std::uint8_t pulse_reset = 0xfe;
} // namespace controller

namespace keyboard {
constexpr std::uint8_t set_leds = 0xed;
constexpr std::uint8_t echo = 0xee;
constexpr std::uint8_t scan_code_set = 0xf0;
constexpr std::uint8_t identify = 0xf2;
constexpr std::uint8_t set_rate = 0xf3;
constexpr std::uint8_t enable = 0xf4;
constexpr std::uint8_t disable = 0xf5;
constexpr std::uint8_t set_defaults = 0xf6;
constexpr std::uint8_t reset = 0xff;
constexpr std::uint8_t acknowledged = 0xfa;
constexpr std::uint8_t test_passed = 0xaa;
} // namespace keyboard

constexpr std::uint8_t test_passed = 0x55;
constexpr std::uint8_t first_port_works = 0x00;
constexpr std::uint8_t clock_stuck = 0x01; ///< how a port that is not there fails its test

// Left Ctrl, left Alt, and Delete of the numeric pad, pressed and let go.
constexpr auto keys_of_set_1 = std::to_array<std::uint8_t>({0x1d, 0x38, 0x53, 0xd3, 0xb8, 0x9d});
constexpr auto keys_of_set_2 = std::to_array<std::uint8_t>({0x14, 0x11, 0x71, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14});

} // namespace

std::uint8_t KeyboardController::read_data() {
    if (queued_ == 0)
        return 0;
    const std::uint8_t byte = queue_.front();
    std::ranges::rotate(queue_, queue_.begin() + 1);
    --queued_;
    return byte;
}

std::uint8_t KeyboardController::read_status() const {
    return static_cast<std::uint8_t>(
        status::not_locked | (command_byte_ & command_byte::system_ok ? status::system_ok : 0U) |
        (command_was_last_ ? status::command_last : 0U) | (queued_ > 0 ? status::output_full : 0U));
}

bool KeyboardController::interrupt_due() const {
    return queued_ > 0 && (command_byte_ & command_byte::keyboard_interrupt) != 0;
}

/// What there is no room for is lost, as at a keyboard.
KeyboardController::Effect KeyboardController::answer(std::span<const std::uint8_t> bytes) {
    for (const std::uint8_t byte : bytes)
        if (queued_ < queue_.size())
            queue_[queued_++] = byte;
    return interrupt_due() ? Effect::interrupt : Effect::nothing;
}

KeyboardController::Effect KeyboardController::write_command(std::uint8_t command) {
    command_was_last_ = true;
    expected_ = Expected::keyboard;
    switch (command) {
    case controller::read_command_byte:
        return answer(command_byte_);
    case controller::write_command_byte:
        expected_ = Expected::command_byte;
        break;
    case controller::self_test:
        command_byte_ |= command_byte::system_ok;
        return answer(test_passed);
    case controller::first_port_test:
        return answer(first_port_works);
    case controller::second_port_test:
    case controller::write_second_buffer: // answered on the first port, so that it is seen that there is no second
        expected_ = command == controller::write_second_buffer ? Expected::nothing : Expected::keyboard;
        return answer(clock_stuck);
    case controller::disable_keyboard:
        command_byte_ |= command_byte::keyboard_disabled;
        break;
    case controller::enable_keyboard:
        command_byte_ &= static_cast<std::uint8_t>(~command_byte::keyboard_disabled);
        break;
    case controller::read_output_port:
        return answer(std::uint8_t{0x01}); // the reset line is high
    case controller::write_output_port:
    case controller::write_keyboard_buffer:
    case controller::write_second_device:
        expected_ = Expected::nothing;
        break;
    case controller::pulse_reset:
        return Effect::reset;
    default:
        break;
    }
    return Effect::nothing;
}

KeyboardController::Effect KeyboardController::write_data(std::uint8_t byte) {
    command_was_last_ = false;
    switch (std::exchange(expected_, Expected::keyboard)) {
    case Expected::command_byte:
        command_byte_ = byte;
        return interrupt_due() ? Effect::interrupt : Effect::nothing;
    case Expected::keyboard_argument:
        return answer(keyboard::acknowledged);
    case Expected::nothing:
        return Effect::nothing;
    case Expected::keyboard:
        break;
    }
    return command_keyboard(byte);
}

KeyboardController::Effect KeyboardController::command_keyboard(std::uint8_t command) {
    switch (command) {
    case keyboard::echo:
        return answer(keyboard::echo);
    case keyboard::identify:
        return answer(std::to_array<std::uint8_t>({keyboard::acknowledged, 0xab, 0x83}));
    case keyboard::reset:
        scanning_ = true;
        return answer(std::to_array<std::uint8_t>({keyboard::acknowledged, keyboard::test_passed}));
    case keyboard::enable:
        scanning_ = true;
        break;
    case keyboard::disable:
    case keyboard::set_defaults:
        scanning_ = command == keyboard::set_defaults && scanning_;
        break;
    case keyboard::set_leds:
    case keyboard::scan_code_set:
    case keyboard::set_rate:
        expected_ = Expected::keyboard_argument;
        break;
    default:
        break;
    }
    return answer(keyboard::acknowledged);
}

bool KeyboardController::has_driver() const {
    return scanning_ && (command_byte_ & command_byte::keyboard_interrupt) != 0 &&
           (command_byte_ & command_byte::keyboard_disabled) == 0;
}

KeyboardController::Effect KeyboardController::press_ctrl_alt_del() {
    // All of them or none: what is pressed must be let go.
    const bool translated = (command_byte_ & command_byte::translates) != 0;
    const std::span<const std::uint8_t> keys =
        translated ? std::span<const std::uint8_t>(keys_of_set_1) : std::span<const std::uint8_t>(keys_of_set_2);
    return queued_ + keys.size() > queue_.size() ? Effect::nothing : answer(keys);
}

void KeyboardController::restore(const KeyboardState& state) {
    command_byte_ = state.command_byte;
    scanning_ = state.scanning;
    queued_ = 0;
    expected_ = Expected::keyboard;
}

} // namespace aerate
