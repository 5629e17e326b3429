// Where a console's output goes, as the serial port sees it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace aerate {

/// Belongs to the process, which lends it to one guest's serial port after the other. Loop thread.
class ConsoleOutput {
public:
    ConsoleOutput() = default;
    ConsoleOutput(ConsoleOutput&&) noexcept = default;
    ConsoleOutput& operator=(ConsoleOutput&&) noexcept = default;
    virtual ~ConsoleOutput() = default;

    /// Returns how many bytes were taken; 0 when it is full for now, or has failed and will be tried again.
    [[nodiscard]] virtual std::size_t write(std::span<const std::byte>) = 0;
    /// Returns a descriptor that is readable when an output that took nothing may take bytes again.
    [[nodiscard]] virtual int writable_fd() const = 0;
    /// Counts the bytes that were taken, and dropped for a limit that an operator has set.
    [[nodiscard]] virtual std::uint64_t dropped_bytes() const { return 0; }
};

} // namespace aerate
