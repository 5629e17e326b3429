#include "programs/progress.hpp"

#include "base/printable.hpp"
#include "programs/output.hpp"

#include <unistd.h>

#include <sys/ioctl.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace aerate {

ProgressLine::ProgressLine(std::string what)
    : what_(std::move(what))
    , terminal_(::isatty(STDERR_FILENO) != 0) {}

void ProgressLine::show(ByteCount done, ByteCount all) {
    show(fmt::format("{} of {} MiB, {} %", done.value >> 20, all.value >> 20,
                     done.value * 100 / std::max<std::uint64_t>(all.value, 1)));
}

void ProgressLine::show(const std::string& text) {
    constexpr std::chrono::milliseconds often_enough{100};
    const auto now = std::chrono::steady_clock::now();
    if (!terminal_ || now - last_ < often_enough)
        return;
    last_ = now;
    shown_ = true;
    // A line that wraps could not be cleared.
    winsize size{};
    const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    draw(stderr, fmt::format("\r\033[K{:.{}}", printable(what_ + ": " + text), known ? size.ws_col - 1 : 79));
}

void ProgressLine::clear() {
    if (!std::exchange(shown_, false))
        return;
    draw(stderr, "\r\033[K");
}

} // namespace aerate
