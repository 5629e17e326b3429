// A stream of bytes to the other side, with time limits. Blocking calls, made by the thread that owns the channel;
// interrupt() alone comes from others.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "event/event_fd.hpp"

#include <chrono>
#include <cstddef>
#include <span>

namespace aerate::migration {

class Channel {
public:
    virtual ~Channel() = default;
    /// All of it, within the time.
    virtual Result<> send(std::span<const std::byte>, std::chrono::milliseconds limit) = 0;
    virtual Result<> receive(std::span<std::byte>, std::chrono::milliseconds limit) = 0;
    /// Readable when receive() would find something.
    [[nodiscard]] virtual int fd() const = 0;
};

/// Why the channel failed, where the caller must tell: in system_error.
inline constexpr int interrupted_error = ECANCELED;

class SocketChannel final : public Channel {
public:
    /// `interrupt` must outlive this; while it is signalled every call fails that would wait.
    SocketChannel(FileDescriptor socket, const EventFd& interrupt);

    Result<> send(std::span<const std::byte>, std::chrono::milliseconds limit) override;
    Result<> receive(std::span<std::byte>, std::chrono::milliseconds limit) override;
    [[nodiscard]] int fd() const override { return socket_.get(); }

    /// From now on nobody interrupts.
    void ignore_interrupts() { heeds_interrupts_ = false; }
    /// Nothing more will be sent; waits until the other side has closed too, so that what was sent last is not lost.
    void finish(std::chrono::milliseconds limit);

private:
    using Clock = std::chrono::steady_clock;
    [[nodiscard]] Result<> wait(short events, Clock::time_point until, std::chrono::milliseconds limit) const;

    FileDescriptor socket_;
    const EventFd& interrupt_;
    bool heeds_interrupts_ = true;
};

} // namespace aerate::migration
