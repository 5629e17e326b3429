// Feeds a descriptor, most often the terminal, to a serial port. A pipe or a file is read only while the port has room,
// so what it holds waits in the kernel. A terminal is always read, because its escape keys must work when the guest
// hangs; of what is typed then, the first few thousand keys wait. The end of input does not stop the guest.
#pragma once

#include "base/error.hpp"
#include "devices/escape_keys.hpp"
#include "devices/raw_terminal.hpp"
#include "devices/serial.hpp"
#include "event/event_loop.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace aerate {

/// Loop thread.
class Console {
public:
    /// `input` stays its owner's and outlives the console, as does `serial`. A terminal goes into raw mode and answers
    /// to the escape keys: `quit` is called for Ctrl-A x, and must not destroy the console there and then.
    [[nodiscard]] static Result<std::unique_ptr<Console>> attach(EventLoop&, Serial&, int input,
                                                                 EventLoop::Callback quit);
    Console(const Console&) = delete;
    Console& operator=(const Console&) = delete;
    ~Console();

private:
    Console(EventLoop&, Serial&, int input, EventLoop::Callback quit);
    void read_input();
    void accept(std::span<const std::byte>);
    void type(std::byte key);
    void deliver();

    EventLoop& loop_;
    Serial& serial_;
    int input_;
    bool pollable_ = false;
    bool ended_ = false;
    EventLoop::Callback quit_;
    std::optional<RawTerminal> terminal_;
    EscapeKeys keys_;
    std::vector<std::byte> waiting_; ///< read, and the port has no room yet
    Subscription readable_;
};

} // namespace aerate
