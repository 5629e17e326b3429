#include "base/log.hpp"

#include "base/printable.hpp"

#include <spdlog/sinks/ansicolor_sink.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <ctime>
#include <memory>
#include <mutex>
#include <utility>

namespace aerate::log {
namespace {

std::atomic<std::uint64_t> all_lost{0};

/// "2026-11-29T19:18:15.000123", UTC.
std::string written(std::chrono::system_clock::time_point time) {
    const auto us = std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch()).count();
    const std::time_t seconds = us / 1'000'000;
    std::tm parts{};
    std::array<char, 32> text{};
    ::gmtime_r(&seconds, &parts);
    const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    return fmt::format("{}.{:06}", std::string_view(text.data(), length), us % 1'000'000);
}

/// The operator's log: where messages go, and until there is one to standard error.
class Destination final : public spdlog::sinks::base_sink<std::mutex> {
public:
    Destination() { standard_error_.set_pattern("%^aerate: %l:%$ %v\r"); }
    void open(FileDescriptor file, std::string name) {
        const std::lock_guard lock(mutex_);
        file_ = std::move(file);
        name_ = std::move(name);
    }
    void show_level(bool shown) {
        const std::lock_guard lock(mutex_);
        level_shown_ = shown;
    }

private:
    void sink_it_(const spdlog::details::log_msg& message) override {
        if (!file_.valid())
            return standard_error_.log(message);
        const std::string line = fmt::format("{} [{}{}{}] {}\n", written(message.time), name_, level_shown_ ? ":" : "",
                                             level_shown_ ? words[static_cast<std::size_t>(message.level)] : "",
                                             std::string_view(message.payload.data(), message.payload.size()));
        if (::write(file_.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()))
            all_lost.fetch_add(1, std::memory_order_relaxed);
    }
    void flush_() override {}

    static constexpr std::array<std::string_view, 7> words{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "ERROR", "OFF"};
    // The carriage return keeps lines straight while the guest's console has the terminal in raw mode.
    spdlog::sinks::ansicolor_stderr_sink_mt standard_error_;
    FileDescriptor file_;
    std::string name_;
    bool level_shown_ = false;
};

const std::shared_ptr<Destination>& destination() {
    static const auto made = std::make_shared<Destination>();
    return made;
}

spdlog::logger& logger() {
    static spdlog::logger instance = [] { return spdlog::logger("aerate", destination()); }();
    return instance;
}

spdlog::level::level_enum translate(Level level) {
    switch (level) {
    case Level::off:
        return spdlog::level::off;
    case Level::trace:
        return spdlog::level::trace;
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

std::atomic<std::uint64_t> all_held_back{0};

} // namespace

void set_level(Level level) {
    logger().set_level(translate(level));
}
void write_to(FileDescriptor file, std::string name) {
    destination()->open(std::move(file), std::move(name));
}
void show_level(bool shown) {
    destination()->show_level(shown);
}
void write(Level level, std::string_view message) {
    logger().log(translate(level), printable(message));
}

bool GuestLogLimit::allow(Clock::time_point time) {
    using namespace std::chrono;
    constexpr int messages = 10;
    constexpr std::int64_t window_ms = 5000;
    const auto now = duration_cast<milliseconds>(time.time_since_epoch()).count();
    auto start = window_start_ms_.load(std::memory_order_relaxed);
    if (now - start >= window_ms && window_start_ms_.compare_exchange_strong(start, now, std::memory_order_relaxed))
        if (const int used = used_.exchange(0, std::memory_order_relaxed); used > messages)
            warning("{} more messages like the next one were suppressed", used - messages);
    if (used_.fetch_add(1, std::memory_order_relaxed) < messages)
        return true;
    all_held_back.fetch_add(1, std::memory_order_relaxed);
    return false;
}

std::uint64_t lost() {
    return all_lost.load(std::memory_order_relaxed);
}

std::uint64_t held_back() {
    return all_held_back.load(std::memory_order_relaxed);
}

} // namespace aerate::log
