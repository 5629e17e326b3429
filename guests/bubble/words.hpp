// Words of a line, and numbers in them. Without string_view's own substr(), which throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace bubble {

/// Takes the first word off the text; empty when there is none left.
[[nodiscard]] constexpr std::string_view take_word(std::string_view& text) {
    while (text.starts_with(' '))
        text.remove_prefix(1);
    std::size_t length = 0;
    while (length < text.size() && text[length] != ' ')
        ++length;
    const std::string_view word(text.data(), length);
    text.remove_prefix(length);
    return word;
}

/// Decimal, or hexadecimal after 0x.
[[nodiscard]] constexpr std::optional<std::uint64_t> number_in(std::string_view word) {
    const bool hexadecimal = word.starts_with("0x");
    if (hexadecimal)
        word.remove_prefix(2);
    if (word.empty())
        return std::nullopt;
    const std::uint64_t base = hexadecimal ? 16 : 10;
    std::uint64_t value = 0;
    for (const char c : word) {
        const std::size_t digit = std::string_view("0123456789abcdef").find(c);
        if (digit >= base)
            return std::nullopt;
        value = value * base + digit;
    }
    return value;
}

} // namespace bubble
