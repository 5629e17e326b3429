// The keyboard controller of a PC (i8042) with a keyboard that has nobody at it: it exists so that the operator can
// press Ctrl-Alt-Del, which reaches guests without an ACPI power button, and for its reset line (command 0xfe).
//
// Every command that Linux's drivers send (drivers/input/serio/i8042.c, keyboard/atkbd.c) is answered at once, so that
// probing it waits for nothing. There is no second port, for a mouse. Registers and commands: Intel 8042, IBM PS/2
// Technical Reference, "Keyboard and Auxiliary Device Controller".
//
// No thread and no lock: KeyboardPort has both.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace aerate {

/// What is kept when the machine is saved. Bytes that nobody has read yet are not: a key that was being pressed is
/// lost.
struct KeyboardState {
    std::uint8_t command_byte = 0;
    bool scanning = false; ///< the keyboard sends what is pressed
    bool operator==(const KeyboardState&) const = default;
};

class KeyboardController {
public:
    enum class Effect : std::uint8_t { nothing, interrupt, reset };

    [[nodiscard]] std::uint8_t read_data();
    [[nodiscard]] std::uint8_t read_status() const;
    /// Returns what follows: an interrupt of line 1, or the machine's reset.
    [[nodiscard]] Effect write_data(std::uint8_t);
    [[nodiscard]] Effect write_command(std::uint8_t);

    /// Whether a driver listens to the keyboard.
    [[nodiscard]] bool has_driver() const;
    /// Presses Ctrl-Alt-Del and lets it go. REQUIRES: has_driver().
    [[nodiscard]] Effect press_ctrl_alt_del();
    /// Whether there is a byte that the guest has not read, for which an interrupt is due.
    [[nodiscard]] bool interrupt_due() const;

    [[nodiscard]] KeyboardState save() const { return {command_byte_, scanning_}; }
    void restore(const KeyboardState&);

private:
    /// What the next byte at the data port is for.
    enum class Expected : std::uint8_t { keyboard, command_byte, keyboard_argument, nothing };

    [[nodiscard]] Effect answer(std::span<const std::uint8_t>);
    [[nodiscard]] Effect answer(std::uint8_t byte) { return answer(std::span(&byte, 1)); }
    [[nodiscard]] Effect command_keyboard(std::uint8_t);

    std::array<std::uint8_t, 16> queue_{}; ///< as much as a PS/2 keyboard keeps
    std::size_t queued_ = 0;
    Expected expected_ = Expected::keyboard;
    std::uint8_t command_byte_ = 0;
    bool scanning_ = false;
    bool command_was_last_ = false; ///< of the two ports
};

} // namespace aerate
