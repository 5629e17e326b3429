// The host's end of a connection: a stream socket that never blocks, and what it has not taken yet.
//
// The socket is watched edge-triggered (epoll(7)): what it is ready for is remembered here until a call says otherwise,
// so nothing is armed and disarmed, and nothing that is ready but not wanted wakes anybody.
#pragma once

#include "base/fd.hpp"

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace aerate::vsock {

class HostStream {
public:
    explicit HostStream(FileDescriptor fd)
        : fd_(std::move(fd)) {}

    [[nodiscard]] int fd() const { return fd_.get(); }
    /// What epoll says.
    void happened(std::uint32_t events);
    /// Whether a read may find something: data, the end, or an error.
    [[nodiscard]] bool readable() const { return readable_; }
    /// Returns whether the peer has closed its socket. What it sent before may still be read.
    [[nodiscard]] bool hung_up() const { return hung_up_; }

    struct Read {
        enum class Kind : std::uint8_t { data, nothing, end, failed };
        Kind kind;
        std::size_t bytes = 0;
    };
    [[nodiscard]] Read read(std::span<const iovec> into);

    /// Writes what the host takes now, and keeps the rest. Returns how much the host has taken; nullopt: it takes no
    /// more, and what was kept is gone.
    [[nodiscard]] std::optional<std::size_t> write(std::span<const iovec> bytes);
    [[nodiscard]] std::optional<std::size_t> write(std::string_view text);
    /// The same with what was kept.
    [[nodiscard]] std::optional<std::size_t> flush();
    [[nodiscard]] bool writable() const { return writable_; }
    [[nodiscard]] bool takes_more() const { return takes_more_; }
    /// What was kept.
    [[nodiscard]] std::size_t pending() const { return pending_.size() - sent_; }

    void shut_writing();
    void shut_reading();

private:
    [[nodiscard]] std::optional<std::size_t> send(std::span<const iovec> bytes);

    FileDescriptor fd_;
    std::vector<std::byte> pending_;
    std::size_t sent_ = 0; ///< of pending_
    bool readable_ = true; ///< until a read finds nothing
    bool writable_ = true;
    bool hung_up_ = false;
    bool takes_more_ = true;
    bool writing_shut_ = false;
    bool reading_shut_ = false;
};

} // namespace aerate::vsock
