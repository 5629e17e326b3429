// Where a console's output goes: a descriptor that is written without ever blocking the event loop.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <cstddef>
#include <span>

namespace aerate {

class OutputSink {
public:
    /// Discards what it is given.
    OutputSink() = default;
    /// Writes where `fd` does, which stays its owner's. A terminal or a pipe is opened anew, because O_NONBLOCK belongs
    /// to the open file, and the one behind `fd` is shared with the shell and with our own stderr.
    [[nodiscard]] static Result<OutputSink> duplicate(int fd);
    /// Truncates or creates a regular file.
    [[nodiscard]] static Result<OutputSink> open_file(const char* path);

    /// How many bytes were taken; 0 when the sink is full for now. A sink that fails is closed and takes everything.
    [[nodiscard]] std::size_t write(std::span<const std::byte>);
    /// A descriptor that is readable when a full sink can take bytes again.
    [[nodiscard]] int writable_fd() const { return poll_.get(); }

private:
    FileDescriptor fd_;
    FileDescriptor poll_;
    bool is_socket_ = false;
};

} // namespace aerate
