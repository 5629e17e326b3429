// The serial port of bubble, with the test at the other end of the line: a command goes in, its one reply line comes
// back. Only the three registers that bubble uses.
#pragma once

#include "base/error.hpp"
#include "platform/pio_bus.hpp"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

namespace aerate::replay {

class BubbleConsole {
public:
    static constexpr Port first_port{0x3f8};
    static constexpr std::uint16_t port_count = 8;

    /// Any thread but the vCPU's. An error when no reply comes in time.
    [[nodiscard]] Result<std::string> command(std::string_view line);
    [[nodiscard]] Result<std::string> next_line();
    /// Nothing will be answered any more, and why.
    void hang_up(std::string reason);

    // The vCPU's side.
    void read(std::uint64_t offset, std::span<std::byte> into);
    void write(std::uint64_t offset, std::span<const std::byte> from);

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::string input_;             ///< guarded by mutex_
    std::string unfinished_;        ///< guarded by mutex_
    std::deque<std::string> lines_; ///< guarded by mutex_
    std::string hung_up_;           ///< guarded by mutex_
};

} // namespace aerate::replay
