// How a guest asks for a reset or to be switched off, and how it learns that the operator pressed the power button.
//
// The reset is the FADT's RESET_REG; the older road to it is the keyboard controller's (keyboard_port.hpp).
// Switching off is the sleep control register of hardware-reduced ACPI (ACPI 6.4, 4.8.3.7). The button is an edge on an
// interrupt of its own, which a Generic Event Device of the ACPI tables turns into a notification.
#pragma once

#include "base/error.hpp"
#include "event/event_fd.hpp"
#include "platform/pio_bus.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

namespace aerate {

/// What the ACPI tables tell the guest.
struct PowerPorts {
    Port reset;                     ///< FADT RESET_REG
    std::uint8_t reset_value;       ///< FADT RESET_VALUE
    Port sleep_control;             ///< FADT SLEEP_CONTROL_REG
    std::uint8_t sleep_control_off; ///< SLP_EN, and the SLP_TYP of \_S5
    Port sleep_status;              ///< FADT SLEEP_STATUS_REG
};

class Power {
public:
    /// Called on the thread of the vCPU that asks, as often as it asks: post to the loop and return.
    struct Callbacks {
        std::function<void()> on_reset;
        std::function<void()> on_power_off;
    };

    [[nodiscard]] static Result<std::unique_ptr<Power>> create(const PowerPorts&, Callbacks);
    /// False when one of its ports is taken.
    [[nodiscard]] bool add_to(PioBus&);

    /// Any thread.
    void press_power_button() { interrupt_.signal(); }
    [[nodiscard]] const EventFd& interrupt() const { return interrupt_; }

private:
    /// One 8-bit register on the bus: reads give `value`, the `trigger` written calls `action`. Wider accesses are
    /// ignored but for their first byte.
    struct Register {
        std::uint8_t value = 0;
        std::uint8_t trigger = 0;
        const std::function<void()>* action = nullptr;
        void read(std::uint64_t offset, std::span<std::byte> into);
        void write(std::uint64_t offset, std::span<const std::byte> from);
    };

    Power(const PowerPorts&, Callbacks, EventFd);

    PowerPorts ports_;
    Callbacks callbacks_;
    EventFd interrupt_;
    Register reset_;
    Register sleep_control_;
    Register sleep_status_;
};

} // namespace aerate
