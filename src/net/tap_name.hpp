// What the name of a tap device may be.
#pragma once

#include <string_view>

namespace aerate::net {

/// Returns what is wrong with the name, or nothing: it has 1 to 15 characters, and none that the kernel takes for a
/// pattern or that leads out of a directory.
[[nodiscard]] constexpr std::string_view check_tap_name(std::string_view name) {
    constexpr std::string_view characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
    constexpr std::size_t longest = 15; // IFNAMSIZ - 1
    const bool good = !name.empty() && name.size() <= longest && name != "." && name != ".." &&
                      name.find_first_not_of(characters) == name.npos;
    return good ? "" : "must be the name of a tap: 1 to 15 letters, digits, '.', '_' or '-'";
}

} // namespace aerate::net
