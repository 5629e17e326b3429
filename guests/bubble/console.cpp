#include "console.hpp"

#include "machine.hpp"

namespace bubble {
namespace {

constexpr std::uint16_t port = 0x3f8;
constexpr std::uint16_t interrupt_enable = port + 1;
constexpr std::uint16_t line_status = port + 5;
constexpr std::uint8_t data_ready = 1U << 0;

} // namespace

/// The receive interrupt must be on: until then the line is quiet (platform/uart_16550.hpp). Nobody hears it, as
/// interrupts are off.
Console::Console() {
    out(interrupt_enable, 1);
}

void Console::put(std::string_view text) {
    for (const char c : text)
        out(port, static_cast<std::uint8_t>(c));
}

void Console::put(Hex number) {
    put("0x");
    for (unsigned digit = 16; digit-- > 0;)
        put({&"0123456789abcdef"[(number.value >> (4 * digit)) & 0xfU], 1});
}

void Console::put_decimal(std::uint64_t number) {
    std::array<char, 20> digits;
    std::size_t first = digits.size();
    do {
        digits[--first] = static_cast<char>('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put(std::string_view(digits.data() + first, digits.size() - first));
}

std::string_view Console::read_line() {
    std::size_t length = 0;
    for (char c = read_char(); c != '\n' && c != '\r'; c = read_char())
        if (length < buffer_.size())
            buffer_[length++] = c;
    return {buffer_.data(), length};
}

char Console::read_char() {
    while ((in(line_status)&data_ready) == 0)
        asm volatile("pause");
    return static_cast<char>(in(port));
}

} // namespace bubble
