// The first serial port, polled.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace bubble {

struct Hex {
    std::uint64_t value{};
};

class Console {
public:
    Console();

    /// Text, decimal numbers and Hex, then a line feed.
    template <typename... Parts>
    void line(const Parts&... parts) {
        (put(parts), ...);
        put("\r\n");
    }
    void put(std::string_view text);
    void put(Hex number);
    template <std::unsigned_integral Number>
    void put(Number number) {
        put_decimal(number);
    }

    /// Waits for a line; without its end. What is longer than the buffer is dropped. Valid until the next call.
    [[nodiscard]] std::string_view read_line();

private:
    void put_decimal(std::uint64_t number);
    [[nodiscard]] static char read_char();

    std::array<char, 1024> buffer_{};
};

} // namespace bubble
