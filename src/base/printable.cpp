#include "base/printable.hpp"

#include <fmt/format.h>

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

/// C0 and C1 controls, which terminals obey, line separators, and what reorders or hides text.
bool harmful(std::uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x200b && code <= 0x200f) ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) || code == 0xfeff;
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
    else
        fmt::format_to(std::back_inserter(into), "\\u{:04x}", code);
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
