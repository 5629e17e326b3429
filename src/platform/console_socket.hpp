// A console that a terminal can be attached to and taken off again: the process keeps the latest output, and sends it,
// and what follows, to whoever connects to its socket. One terminal is attached at a time, and the last to come has it:
// one that hangs, or was forgotten, keeps nobody out. A terminal that reads slowly holds up neither guest nor monitor;
// it misses output, and is told so. What is typed is read only as far as the guest takes it.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "event/acceptor.hpp"
#include "event/event_loop.hpp"
#include "platform/console.hpp"
#include "platform/console_output.hpp"
#include "platform/console_ring.hpp"
#include "platform/serial.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace aerate {

/// Loop thread.
class ConsoleSocket final : public ConsoleOutput {
public:
    explicit ConsoleSocket(EventLoop& loop)
        : loop_(loop) {}

    /// Serves those of our own user, and root, who connect at a listening socket, which stays open until hang_up().
    [[nodiscard]] Result<> listen(int listening);
    /// Takes off whoever is attached, and lets nobody else in.
    void hang_up();

    /// Gives what is typed to this guest, until disconnect(); REQUIRES: there is no other.
    void connect(Serial&);
    void disconnect();

    /// Takes everything.
    [[nodiscard]] std::size_t write(std::span<const std::byte>) override;
    [[nodiscard]] int writable_fd() const override { return -1; }

private:
    struct Terminal {
        FileDescriptor fd;
        FileDescriptor writing; ///< a duplicate, to be waited for
        ConsolePlace next{};
        ByteCount missed{};   ///< output that it was too slow for, and has not been told of
        std::string notice{}; ///< the monitor's own words, to be sent first
        std::unique_ptr<Console> input{};
        Subscription writable{};
    };
    void attach(FileDescriptor);
    void read_input();
    void leave_later();
    void send();
    /// Returns whether all has been taken; false also when the terminal is gone.
    [[nodiscard]] bool send_all(Terminal&);

    EventLoop& loop_;
    ConsoleRing ring_;
    Serial* serial_ = nullptr;
    std::unique_ptr<Terminal> terminal_;
    Subscription leaving_;
    std::optional<Acceptor> acceptor_;
};

} // namespace aerate
