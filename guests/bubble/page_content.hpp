// What bubble writes into its pages, so that it can tell later whether they are still what it wrote.
#pragma once

#include "machine.hpp"

#include <cstdint>
#include <optional>

namespace bubble {

/// The first and the last word of a page. The second is its check. A page is lost as a whole, if it is, and to fill it
/// would take most of the time.
[[nodiscard]] constexpr std::uint64_t content_of(FrameNumber frame, std::uint32_t sequence) {
    return std::uint64_t{sequence} << 32 | (frame.value & UINT32_MAX);
}
[[nodiscard]] constexpr std::uint64_t check_of(std::uint64_t content) {
    return (content ^ content >> 31) * 0x9e3779b97f4a7c15ULL + 1;
}

[[nodiscard]] inline std::uint64_t* words_of(FrameNumber frame) {
    return reinterpret_cast<std::uint64_t*>(memory(address_of(frame)));
}
inline constexpr unsigned last_word = 511;

inline void write_page(FrameNumber frame, std::uint32_t sequence) {
    const std::uint64_t content = content_of(frame, sequence);
    std::uint64_t* const words = words_of(frame);
    words[0] = words[last_word] = content;
    words[1] = check_of(content);
}

struct Damage {
    FrameNumber frame;
    std::uint64_t expected{};
    std::uint64_t found{};
};

[[nodiscard]] inline std::optional<Damage> verify_page(FrameNumber frame, std::uint32_t sequence) {
    const std::uint64_t content = content_of(frame, sequence);
    const std::uint64_t* const words = words_of(frame);
    if (words[0] != content)
        return Damage{frame, content, words[0]};
    if (words[1] != check_of(content))
        return Damage{frame, check_of(content), words[1]};
    if (words[last_word] != content)
        return Damage{frame, content, words[last_word]};
    return std::nullopt;
}

inline void write_pages(PageRange range, std::uint32_t sequence) {
    for (FrameNumber frame = range.first; frame < range.end(); ++frame.value)
        write_page(frame, sequence);
}
[[nodiscard]] inline std::optional<Damage> verify_pages(PageRange range, std::uint32_t sequence) {
    for (FrameNumber frame = range.first; frame < range.end(); ++frame.value)
        if (const auto damage = verify_page(frame, sequence))
            return damage;
    return std::nullopt;
}

} // namespace bubble
