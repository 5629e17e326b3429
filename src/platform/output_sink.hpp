// Where a console's output goes: a descriptor that is written without ever blocking the event loop. A process opens it
// once, and lends it to one guest's serial port after the other.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "platform/console_output.hpp"

#include <chrono>
#include <cstddef>
#include <span>
#include <string>

namespace aerate {

class OutputSink final : public ConsoleOutput {
public:
    /// After a write that failed. What comes meanwhile waits where it is.
    static constexpr std::chrono::seconds retry_after{1};

    /// Discards what it is given.
    OutputSink() = default;
    /// Writes where `fd` does, which stays its owner's. A terminal or a pipe is opened anew, because O_NONBLOCK belongs
    /// to the open file, and the one behind `fd` is shared with the shell and with our own stderr.
    [[nodiscard]] static Result<OutputSink> duplicate(int fd);
    /// Appends to a file or FIFO: see open_to_append().
    [[nodiscard]] static Result<OutputSink> open_file(const std::string& path);

    /// Returns how many bytes were taken; 0 when the sink is full for now, or has failed and will be tried again. A
    /// sink that is gone for good (a terminal that was closed, a pipe without a reader) takes everything.
    [[nodiscard]] std::size_t write(std::span<const std::byte>) override;
    [[nodiscard]] int writable_fd() const override { return failing_ ? retry_.get() : poll_.get(); }

private:
    [[nodiscard]] Result<> watch();
    [[nodiscard]] bool is_gone(int code) const;
    [[nodiscard]] bool try_later(int code);

    FileDescriptor fd_;
    FileDescriptor poll_;
    FileDescriptor retry_; ///< a timer
    std::string name_;
    bool is_socket_ = false;
    bool is_file_ = false;
    bool failing_ = false;
};

} // namespace aerate
