#include "base/log.hpp"

#include "base/printable.hpp"

#include <unistd.h>

#include <array>
#include <chrono>
#include <ctime>
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

/// The operator's log: where messages go, and until there is one to standard error. Any thread.
class Destination {
public:
    void open(FileDescriptor file, std::string name) {
        const std::lock_guard lock(mutex_);
        file_ = std::move(file);
        name_ = std::move(name);
    }
    void show_level(bool shown) {
        const std::lock_guard lock(mutex_);
        level_shown_ = shown;
    }
    void take(Level level, std::string_view message) {
        const std::lock_guard lock(mutex_);
        // The carriage return keeps lines straight while the guest's console has the terminal in raw mode.
        const std::string line =
            file_.valid() ? fmt::format("{} [{}{}{}] {}\n", written(std::chrono::system_clock::now()), name_,
                                        level_shown_ ? ":" : "", level_shown_ ? words(level).in_file : "", message)
                          : fmt::format("aerate: {}: {}\r\n", words(level).shown, message);
        const int target = file_.valid() ? file_.get() : STDERR_FILENO;
        if (::write(target, line.data(), line.size()) != static_cast<ssize_t>(line.size()) && file_.valid())
            all_lost.fetch_add(1, std::memory_order_relaxed);
    }

private:
    struct Words {
        std::string_view in_file; // as Firecracker has them
        std::string_view shown;
    };
    static Words words(Level level) {
        static constexpr std::array<Words, 6> all{{{.in_file = "TRACE", .shown = "trace"},
                                                   {.in_file = "DEBUG", .shown = "debug"},
                                                   {.in_file = "INFO", .shown = "info"},
                                                   {.in_file = "WARN", .shown = "warning"},
                                                   {.in_file = "ERROR", .shown = "error"},
                                                   {.in_file = "OFF", .shown = "off"}}};
        return all[static_cast<std::size_t>(level)];
    }

    std::mutex mutex_;
    FileDescriptor file_;
    std::string name_;
    bool level_shown_ = false;
};

Destination& destination() {
    static Destination instance;
    return instance;
}

std::atomic<Level> lowest{Level::info};
std::atomic<std::uint64_t> all_held_back{0};

} // namespace

void set_level(Level level) {
    lowest.store(level, std::memory_order_relaxed);
}
void write_to(FileDescriptor file, std::string name) {
    destination().open(std::move(file), std::move(name));
}
void show_level(bool shown) {
    destination().show_level(shown);
}
void write(Level level, std::string_view message) {
    if (level >= lowest.load(std::memory_order_relaxed))
        destination().take(level, printable(message));
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
