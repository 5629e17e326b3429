// Messages for the person who runs the monitor. What a guest can trigger is counted in metrics, and logged only through
// a GuestLogLimit, so that a guest cannot fill the host's disk.
#pragma once

#include "base/fd.hpp"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace aerate::log {

enum class Level : std::uint8_t { trace, debug, info, warning, error, off };

void set_level(Level);
/// Writes messages into this file or FIFO from now on, as "TIME [NAME:LEVEL] MESSAGE". What a FIFO has no room for is
/// lost: nobody waits for its reader. Before any thread starts, or on the main loop.
void write_to(FileDescriptor, std::string name);
/// Whether the messages that go into the file name their level.
void show_level(bool);
/// Writes one line, printable().
void write(Level, std::string_view message);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}

/// Lets ten messages through in any five seconds, and tells later how many it held back; any thread. One static object
/// a call site.
class GuestLogLimit {
public:
    using Clock = std::chrono::steady_clock;
    [[nodiscard]] bool allow(Clock::time_point now = Clock::now());

private:
    std::atomic<std::int64_t> window_start_ms_{0};
    std::atomic<int> used_{0};
};

/// Returns how many messages a full FIFO or disk has lost.
[[nodiscard]] std::uint64_t lost();
/// Returns how many messages all limits have held back, for the metrics.
[[nodiscard]] std::uint64_t held_back();

} // namespace aerate::log
