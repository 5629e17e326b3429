#include "bubble_console.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace aerate::replay {
namespace {

constexpr std::uint64_t data_register = 0;
constexpr std::uint64_t line_status = 5;
constexpr std::byte data_ready{1U << 0};
constexpr std::byte transmitter_empty{3U << 5};

/// A guest may be emulated instruction by instruction.
constexpr std::chrono::seconds reply_limit{20};
/// The guest polls, on a core that others could use; so a look at an empty line takes this long. A vCPU that is asked
/// to pause does so after at most one look.
constexpr std::chrono::milliseconds look_limit{2};

} // namespace

Result<std::string> BubbleConsole::command(std::string_view line) {
    {
        const std::scoped_lock lock(mutex_);
        input_ += line;
        input_ += '\n';
    }
    changed_.notify_all();
    auto reply = next_line();
    if (!reply)
        return fail("\"{}\": {}", line, reply.error().message);
    return reply;
}

Result<std::string> BubbleConsole::next_line() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, reply_limit, [this] { return !lines_.empty() || !hung_up_.empty(); }))
        hung_up_ = fmt::format("it said nothing for {} s", reply_limit.count());
    if (lines_.empty())
        return fail("the guest is gone: {}", hung_up_);
    std::string line = std::move(lines_.front());
    lines_.pop_front();
    return line;
}

void BubbleConsole::hang_up(std::string reason) {
    {
        const std::scoped_lock lock(mutex_);
        hung_up_ = std::move(reason);
    }
    changed_.notify_all();
}

void BubbleConsole::read(std::uint64_t offset, std::span<std::byte> into) {
    std::ranges::fill(into, std::byte{});
    std::unique_lock lock(mutex_);
    if (offset == line_status) {
        const bool ready = changed_.wait_for(lock, look_limit, [this] { return !input_.empty(); });
        into[0] = ready ? transmitter_empty | data_ready : transmitter_empty;
    } else if (offset == data_register && !input_.empty()) {
        into[0] = static_cast<std::byte>(input_.front());
        input_.erase(0, 1);
    }
}

void BubbleConsole::write(std::uint64_t offset, std::span<const std::byte> from) {
    if (offset != data_register)
        return;
    const std::scoped_lock lock(mutex_);
    for (const std::byte byte : from) {
        const char c = static_cast<char>(byte);
        if (c == '\n') {
            lines_.push_back(std::exchange(unfinished_, {}));
            changed_.notify_all();
        } else if (c != '\r') {
            unfinished_ += c;
        }
    }
}

} // namespace aerate::replay
