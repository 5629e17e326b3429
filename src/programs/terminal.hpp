// The terminal taken over for a live display: alternate screen, no echo, keys at once. Given back on every way out, be
// it an exit, a signal that ends the process, or a crash.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <sys/types.h>

#include <chrono>

namespace aerate {

class Terminal {
public:
    /// REQUIRES: standard input and output are terminals; there is no other Terminal.
    [[nodiscard]] static Result<Terminal> take_over();
    Terminal(Terminal&& other) noexcept;
    Terminal& operator=(Terminal&&) = delete;
    ~Terminal();

    struct Size {
        std::size_t columns;
        std::size_t rows;
    };
    [[nodiscard]] Size size() const;

    enum class Event : unsigned char { timeout, quit, resized };
    /// Sleeps until something happens. Keys other than q and Ctrl-C are ignored.
    [[nodiscard]] Event wait(std::chrono::steady_clock::time_point until);

private:
    explicit Terminal(FileDescriptor signals)
        : signals_(std::move(signals)) {}
    FileDescriptor signals_;
};

} // namespace aerate
