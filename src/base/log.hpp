// Messages for the person who runs the monitor. What a guest can trigger is counted in metrics, and logged only through
// a GuestLogLimit, so that a guest cannot fill the host's disk.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <utility>

namespace aerate::log {

enum class Level : std::uint8_t { debug, info, warning, error };

void set_level(Level);
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

/// Lets ten messages through in any five seconds; any thread. One static object a call site.
class GuestLogLimit {
public:
    [[nodiscard]] bool allow();

private:
    std::atomic<std::int64_t> window_start_ms_{0};
    std::atomic<int> used_{0};
};

} // namespace aerate::log
