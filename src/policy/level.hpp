// How short of memory the host is.
#pragma once

#include "policy/inputs.hpp"

#include <array>
#include <string_view>
#include <utility>

namespace aerate::policy {

enum class Level : std::uint8_t {
    plenty,   ///< balloons go down
    tight,    ///< nothing moves but relief
    shortage, ///< balloons go up
    critical, ///< likewise, and what guests have in use is no longer spared
};
inline constexpr std::array<std::pair<std::string_view, Level>, 4> level_words{{
    {"plenty", Level::plenty},
    {"tight", Level::tight},
    {"shortage", Level::shortage},
    {"critical", Level::critical},
}};

/// Available memory above the reserve, in parts of the host's: from `high` on there is plenty, below `low` a shortage.
/// Between them nothing moves, so that a host at the edge does not take and give in turn.
inline constexpr Permille high{60};
inline constexpr Permille low{30};
/// What a shortage is brought up to.
inline constexpr Permille middle{45};

[[nodiscard]] Level level_of(const Host&);
[[nodiscard]] constexpr bool is_short(Level level) {
    return level == Level::shortage || level == Level::critical;
}
/// Returns how soon the host is to be looked at again. Memory can go at gigabytes a second.
[[nodiscard]] milliseconds next_look(Level);
/// Returns what the guests are asked for together, beside `promised`, which has just been given to some of them.
[[nodiscard]] ByteCount wanted(const Host&, Level, ByteCount promised);
/// Returns what may be given back in `time`: an eighth of what there is above `high` in a second, so that guests that
/// all grow at once do not take everything before they are looked at again.
[[nodiscard]] ByteCount returnable(const Host&, milliseconds time);

} // namespace aerate::policy
