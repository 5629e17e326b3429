#include "base/printable.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>

namespace aerate {
namespace {

struct Character {
    std::uint32_t code = 0;
    std::size_t length = 0; ///< 0: not UTF-8
};

/// Decodes the first character of `text`, which is not empty, by table 3-7 of the Unicode Standard: no overlong forms,
/// no surrogates, nothing beyond U+10FFFF.
Character first_of(std::string_view text) {
    const auto byte = [&](std::size_t at) -> unsigned { return static_cast<unsigned char>(text[at]); };
    const unsigned lead = byte(0);
    if (lead < 0x80)
        return {lead, 1};
    const std::size_t length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length == 0 || text.size() < length)
        return {};
    std::uint32_t code = lead & (0x7fU >> length);
    for (std::size_t at = 1; at < length; ++at) {
        if ((byte(at) & 0xc0U) != 0x80)
            return {};
        code = code << 6U | (byte(at) & 0x3fU);
    }
    const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    if (overlong || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff)
        return {};
    return {code, length};
}

struct Block {
    std::uint32_t first;
    std::uint32_t last;
};

/// C0 and C1 controls, which terminals obey, line separators, and what reorders or hides text: all of Bidi_Control
/// (PropList.txt), and of Default_Ignorable_Code_Point (DerivedCoreProperties.txt) but the variation selectors, which
/// choose how an emoji looks.
constexpr auto harmful_blocks = std::to_array<Block>({
    {0x00, 0x1f},
    {0x7f, 0x9f},
    {0xad, 0xad},
    {0x34f, 0x34f},
    {0x61c, 0x61c},
    {0x115f, 0x1160},
    {0x17b4, 0x17b5},
    {0x180b, 0x180f},
    {0x200b, 0x200f},
    {0x2028, 0x202e},
    {0x2060, 0x206f},
    {0x3164, 0x3164},
    {0xfeff, 0xfeff},
    {0xffa0, 0xffa0},
    {0xfff0, 0xfffb},
    {0x1bca0, 0x1bca3},
    {0x1d173, 0x1d17a},
    {0xe0000, 0xe0fff},
});

bool harmful(std::uint32_t code) {
    return std::ranges::any_of(harmful_blocks,
                               [code](const Block& block) { return code >= block.first && code <= block.last; });
}

void append_escaped(std::string& into, std::uint32_t code) {
    if (code == '\n')
        into += "\\n";
    else if (code == '\r')
        into += "\\r";
    else if (code == '\t')
        into += "\\t";
    else if (code < 0x80)
        fmt::format_to(std::back_inserter(into), "\\x{:02x}", code);
    else if (code <= 0xffff)
        fmt::format_to(std::back_inserter(into), "\\u{:04x}", code);
    else
        fmt::format_to(std::back_inserter(into), "\\U{:08x}", code);
}

} // namespace

std::string printable(std::string_view text, std::size_t longest) {
    std::string line;
    line.reserve(text.size());
    while (!text.empty()) {
        const Character character = first_of(text);
        const std::size_t before = line.size();
        const std::size_t taken = character.length == 0 ? 1 : character.length;
        if (character.length == 0)
            fmt::format_to(std::back_inserter(line), "\\x{:02x}", static_cast<unsigned char>(text.front()));
        else if (harmful(character.code))
            append_escaped(line, character.code);
        else
            line += text.substr(0, taken);
        if (line.size() > longest) {
            line.resize(before);
            return line += "...";
        }
        text.remove_prefix(taken);
    }
    return line;
}

std::string printable_lines(std::string_view text) {
    std::string lines;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        lines += printable(text.substr(0, end), text.npos);
        if (end == text.npos)
            break;
        lines += '\n';
        text.remove_prefix(end + 1);
    }
    return lines;
}

} // namespace aerate
