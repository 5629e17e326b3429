#include "base/log.hpp"

#include <spdlog/sinks/ansicolor_sink.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace aerate::log {
namespace {

spdlog::logger& logger() {
    static spdlog::logger instance = [] {
        spdlog::logger made("aerate", std::make_shared<spdlog::sinks::ansicolor_stderr_sink_mt>());
        // The carriage return keeps lines straight while the guest's console has the terminal in raw mode.
        made.set_pattern("%^aerate: %l:%$ %v\r");
        return made;
    }();
    return instance;
}

spdlog::level::level_enum translate(Level level) {
    switch (level) {
    case Level::debug:
        return spdlog::level::debug;
    case Level::info:
        return spdlog::level::info;
    case Level::warning:
        return spdlog::level::warn;
    case Level::error:
        break;
    }
    return spdlog::level::err;
}

} // namespace

void set_level(Level level) {
    logger().set_level(translate(level));
}
void write(Level level, std::string_view message) {
    logger().log(translate(level), message);
}

bool GuestLogLimit::allow() {
    using namespace std::chrono;
    const auto now = duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
    auto start = window_start_ms_.load(std::memory_order_relaxed);
    if (now - start >= 5000 && window_start_ms_.compare_exchange_strong(start, now, std::memory_order_relaxed))
        used_.store(0, std::memory_order_relaxed);
    return used_.fetch_add(1, std::memory_order_relaxed) < 10;
}

} // namespace aerate::log
