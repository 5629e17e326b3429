#include "platform/keyboard_port.hpp"

#include <algorithm>
#include <utility>

namespace aerate {
namespace {

constexpr Port data_port{0x60};
constexpr Port command_port{0x64};

} // namespace

Result<std::unique_ptr<KeyboardPort>> KeyboardPort::create(std::function<void()> on_reset) {
    auto interrupt = TRY(EventFd::create()); // not within the new expression, which has its memory by then
    return std::unique_ptr<KeyboardPort>(new KeyboardPort(std::move(on_reset), std::move(interrupt)));
}

bool KeyboardPort::add_to(PioBus& bus) {
    return bus.add(data_port, 1, data_) && bus.add(command_port, 1, command_);
}

void KeyboardPort::Port::read(std::uint64_t, std::span<std::byte> into) {
    std::ranges::fill(into, std::byte{keyboard->read(is_command)});
}

void KeyboardPort::Port::write(std::uint64_t, std::span<const std::byte> from) {
    keyboard->write(is_command, std::to_integer<std::uint8_t>(from.front()));
}

std::uint8_t KeyboardPort::read(bool is_command) {
    bool more = false;
    std::uint8_t byte = 0;
    {
        const std::lock_guard lock(mutex_);
        byte = is_command ? controller_.read_status() : controller_.read_data();
        more = !is_command && controller_.interrupt_due();
    }
    if (more) // an edge for each byte
        interrupt_.signal();
    return byte;
}

void KeyboardPort::write(bool is_command, std::uint8_t byte) {
    auto effect = KeyboardController::Effect::nothing;
    {
        const std::lock_guard lock(mutex_);
        effect = is_command ? controller_.write_command(byte) : controller_.write_data(byte);
    }
    if (effect == KeyboardController::Effect::reset)
        on_reset_();
    else if (effect == KeyboardController::Effect::interrupt)
        interrupt_.signal();
}

bool KeyboardPort::press_ctrl_alt_del() {
    auto effect = KeyboardController::Effect::nothing;
    {
        const std::lock_guard lock(mutex_);
        if (!controller_.has_driver())
            return false;
        effect = controller_.press_ctrl_alt_del();
    }
    if (effect == KeyboardController::Effect::interrupt)
        interrupt_.signal();
    return true;
}

KeyboardState KeyboardPort::save() const {
    const std::lock_guard lock(mutex_);
    return controller_.save();
}

void KeyboardPort::restore(const KeyboardState& state) {
    const std::lock_guard lock(mutex_);
    controller_.restore(state);
}

} // namespace aerate
