// The keyboard controller on its two ports, with its interrupt. Any thread.
#pragma once

#include "base/error.hpp"
#include "event/event_fd.hpp"
#include "platform/keyboard_controller.hpp"
#include "platform/pio_bus.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>

namespace aerate {

class KeyboardPort {
public:
    /// `on_reset` is called on the thread of the vCPU that asks, as often as it asks: post to the loop and return.
    [[nodiscard]] static Result<std::unique_ptr<KeyboardPort>> create(std::function<void()> on_reset);
    /// False when one of its ports is taken.
    [[nodiscard]] bool add_to(PioBus&);

    /// Presses Ctrl-Alt-Del. False when the guest has no driver that would notice.
    [[nodiscard]] bool press_ctrl_alt_del();
    [[nodiscard]] const EventFd& interrupt() const { return interrupt_; }

    /// REQUIRES: the guest is at rest.
    [[nodiscard]] KeyboardState save() const;
    void restore(const KeyboardState&);

private:
    /// One of the two ports. Wider accesses are ignored but for their first byte.
    struct Port {
        KeyboardPort* keyboard;
        bool is_command;
        void read(std::uint64_t, std::span<std::byte> into);
        void write(std::uint64_t, std::span<const std::byte> from);
    };

    KeyboardPort(std::function<void()> on_reset, EventFd interrupt)
        : on_reset_(std::move(on_reset))
        , interrupt_(std::move(interrupt)) {}
    [[nodiscard]] std::uint8_t read(bool is_command);
    void write(bool is_command, std::uint8_t);

    std::function<void()> on_reset_;
    EventFd interrupt_;
    Port data_{this, false};
    Port command_{this, true};
    mutable std::mutex mutex_;
    KeyboardController controller_; ///< under the mutex
};

} // namespace aerate
