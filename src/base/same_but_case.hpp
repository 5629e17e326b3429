// Comparing words of protocols, in which the case of letters says nothing.
#pragma once

#include <algorithm>
#include <string_view>

namespace aerate {

/// Compares ASCII, letters of either case alike. Boost 1.81's beast::iequals() reads a byte too many.
[[nodiscard]] constexpr bool same_but_case(std::string_view one, std::string_view other) {
    constexpr auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return std::ranges::equal(one, other, {}, lower, lower);
}

} // namespace aerate
