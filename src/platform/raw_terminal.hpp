// Lends the terminal to a guest: raw mode while this object lives, and the old mode again on every way out of the
// process, crashes included.
#pragma once

#include <optional>

namespace aerate {

class RawTerminal {
public:
    /// Returns nothing when `fd` is not a terminal, or not ours to use because we run in the background. One at a time.
    [[nodiscard]] static std::optional<RawTerminal> enter(int fd);
    RawTerminal(RawTerminal&& other) noexcept;
    RawTerminal& operator=(RawTerminal&& other) noexcept;
    ~RawTerminal();

    /// Async-signal-safe, any thread, any number of times.
    static void restore();

private:
    RawTerminal() = default;
    bool owner_ = true;
};

} // namespace aerate
