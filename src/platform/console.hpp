// Feeds a descriptor, most often the terminal, to a serial port. What the guest does not take waits where it comes
// from: a pipe or a file is read only while the port has room, a terminal while no more than waiting_limit is here, so
// that a text of any length can be pasted. Only when the guest takes nothing at all for a second is a terminal read on,
// because its escape keys must work then; what is typed then is dropped, said, and counted. The end of input does not
// stop the guest.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "event/event_loop.hpp"
#include "platform/escape_keys.hpp"
#include "platform/raw_terminal.hpp"
#include "platform/serial.hpp"

#include <chrono>
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
    /// to the escape keys: `quit` is called for Ctrl-A x, `ended` when input that is no terminal has come to its end;
    /// neither may destroy the console there and then.
    [[nodiscard]] static Result<std::unique_ptr<Console>>
    attach(EventLoop&, Serial&, int input, EventLoop::Callback quit, EventLoop::Callback ended = {});
    Console(const Console&) = delete;
    Console& operator=(const Console&) = delete;
    ~Console();

    /// Bytes read from a terminal; a pipe or a file that holds more is never read.
    static constexpr std::size_t waiting_limit = 4096;
    /// For how long a guest that has all that takes nothing before it counts as hung.
    static constexpr std::chrono::milliseconds patience{1000};

    /// Returns what was typed at a guest that took no input, and so did not reach it.
    [[nodiscard]] ByteCount dropped() const { return dropped_; }

private:
    Console(EventLoop&, Serial&, int input, EventLoop::Callback quit, EventLoop::Callback ended);
    void read_input();
    void accept(std::span<const std::byte>);
    void type(std::byte key);
    void deliver();
    void watch_input();

    EventLoop& loop_;
    Serial& serial_;
    int input_;
    bool pollable_ = false;
    bool ended_ = false;
    EventLoop::Callback quit_;
    EventLoop::Callback when_ended_;
    std::optional<RawTerminal> terminal_;
    EscapeKeys keys_;
    std::vector<std::byte> waiting_; ///< read, and the port has no room yet
    bool hung_ = false;              ///< the guest takes nothing: what comes beyond the limit is dropped
    ByteCount dropped_{};
    Subscription hanging_; ///< runs while there is more than the guest takes
    Subscription readable_;
};

} // namespace aerate
