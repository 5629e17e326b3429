// A stream of bytes to the other side, with time limits. Blocking calls, made by the thread that owns the channel;
// interrupting alone comes from others.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "event/event_fd.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>

namespace aerate::migration {

class Channel {
public:
    virtual ~Channel() = default;
    /// Sends all of it, within the time.
    virtual Result<> send(std::span<const std::byte>, std::chrono::milliseconds limit) = 0;
    virtual Result<> receive(std::span<std::byte>, std::chrono::milliseconds limit) = 0;
    /// Returns for how long send() has waited, in all, for the other side to take what was sent before.
    [[nodiscard]] virtual std::chrono::nanoseconds waited() const = 0;
};

/// Why a channel failed, where the caller must tell: in system_error.
inline constexpr int interrupted_error = ECANCELED;
inline constexpr int timeout_error = ETIMEDOUT;

/// A channel to a socket, which fails every call that would wait while it is interrupted.
class Connection : public Channel {
public:
    /// Waits until each side has authenticated the other. Once, before anything else.
    virtual Result<> open(std::chrono::milliseconds limit) = 0;
    /// Receives what there is, once there is something; 0 when the other side has closed.
    virtual Result<std::size_t> receive_some(std::span<std::byte>, std::chrono::milliseconds limit) = 0;
    /// Waits until receive() would find something, or fail, for as long as that takes.
    virtual Result<> wait_for_more() = 0;
    /// Returns a descriptor that is readable when receive() would find something, unless holds_more().
    [[nodiscard]] virtual int fd() const = 0;
    [[nodiscard]] virtual bool holds_more() const = 0;
    /// Ignores interrupts from now on.
    virtual void ignore_interrupts() = 0;
    /// Ends sending, and waits until the other side has closed too, so that what was sent last is not lost.
    virtual void finish(std::chrono::milliseconds limit) = 0;
};

class SocketChannel final : public Connection {
public:
    using Clock = std::chrono::steady_clock;

    /// `interrupt` must outlive this; while it is signalled every call fails that would wait.
    SocketChannel(FileDescriptor socket, const EventFd& interrupt);

    Result<> open(std::chrono::milliseconds) override { return {}; }
    Result<> send(std::span<const std::byte>, std::chrono::milliseconds limit) override;
    Result<> receive(std::span<std::byte>, std::chrono::milliseconds limit) override;
    Result<std::size_t> receive_some(std::span<std::byte>, std::chrono::milliseconds limit) override;
    Result<> wait_for_more() override;
    [[nodiscard]] int fd() const override { return socket_.get(); }
    [[nodiscard]] bool holds_more() const override { return false; }
    void ignore_interrupts() override { heeds_interrupts_ = false; }
    void finish(std::chrono::milliseconds limit) override;
    [[nodiscard]] std::chrono::nanoseconds waited() const override { return waited_; }

    /// Waits for poll(2)'s `events`. The error names `limit`.
    [[nodiscard]] Result<> wait(short events, Clock::time_point until, std::chrono::milliseconds limit);

private:
    [[nodiscard]] Result<std::size_t> receive_until(std::span<std::byte>, Clock::time_point until,
                                                    std::chrono::milliseconds limit);

    FileDescriptor socket_;
    const EventFd& interrupt_;
    bool heeds_interrupts_ = true;
    std::chrono::nanoseconds waited_{};
};

} // namespace aerate::migration
