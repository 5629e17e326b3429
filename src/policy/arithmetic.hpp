// The law's arithmetic: whole numbers only, so that a recorded history gives the same decisions with every compiler,
// and nothing that a guest says can become a NaN or wrap around.
#pragma once

#include "base/units.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>

namespace aerate::policy {

using std::chrono::milliseconds;

/// Bytes a second.
struct ByteRate {
    std::uint64_t value{};
    auto operator<=>(const ByteRate&) const = default;
};

/// Parts of a thousand.
struct Permille {
    std::uint64_t value{};
    auto operator<=>(const Permille&) const = default;
};

namespace detail {
__extension__ using Wide = unsigned __int128;
}

/// Returns by how much `amount` exceeds `limit`: nothing if it does not.
[[nodiscard]] constexpr ByteCount excess(ByteCount amount, ByteCount limit) {
    return amount > limit ? amount - limit : ByteCount{};
}
/// Returns the sum, or the largest number there is.
[[nodiscard]] constexpr ByteCount sum(ByteCount a, ByteCount b) {
    const ByteCount left{std::numeric_limits<std::uint64_t>::max() - a.value};
    return a + std::min(b, left);
}
/// Returns `amount` · `numerator` / `denominator`, rounded down, or the largest number there is. REQUIRES: the
/// denominator is not 0.
[[nodiscard]] constexpr ByteCount scaled(ByteCount amount, std::uint64_t numerator, std::uint64_t denominator) {
    const detail::Wide product = detail::Wide{amount.value} * numerator / denominator;
    return {static_cast<std::uint64_t>(std::min<detail::Wide>(product, std::numeric_limits<std::uint64_t>::max()))};
}
[[nodiscard]] constexpr ByteCount part(ByteCount amount, Permille permille) {
    return scaled(amount, permille.value, 1000);
}

/// Returns the time from `before` to `now`: nothing when a clock went back.
[[nodiscard]] constexpr milliseconds since(milliseconds before, milliseconds now) {
    return now > before ? now - before : milliseconds{};
}
[[nodiscard]] constexpr std::uint64_t count(milliseconds time) {
    return static_cast<std::uint64_t>(std::max(time, milliseconds{}).count());
}
/// REQUIRES: the time is not 0.
[[nodiscard]] constexpr ByteRate rate_of(ByteCount amount, milliseconds time) {
    return {scaled(amount, 1000, count(time)).value};
}
[[nodiscard]] constexpr ByteCount over(ByteRate rate, milliseconds time) {
    return scaled({rate.value}, count(time), 1000);
}

/// Returns what is left of `amount` when it halves each `half_life`.
[[nodiscard]] constexpr ByteCount decayed(ByteCount amount, milliseconds time, milliseconds half_life) {
    const std::uint64_t halves = count(time) / count(half_life);
    if (halves >= 64)
        return {};
    // 2^-f for f from 0 to 1 is 1 - ln(2)·f + (ln(2) - 1/2)·f², within 1 %; exact at both ends, and in its slope at 0.
    constexpr std::uint64_t one = 1U << 20;
    const std::uint64_t f = count(time) % count(half_life) * one / count(half_life);
    const std::uint64_t left = one - 726'817 * f / one + 202'529 * f / one * f / one;
    return scaled({amount.value >> halves}, left, one);
}
[[nodiscard]] constexpr ByteRate decayed(ByteRate rate, milliseconds time, milliseconds half_life) {
    return {decayed(ByteCount{rate.value}, time, half_life).value};
}
/// Moves `from` towards `to` by the part of the way that `time` is of `constant`.
[[nodiscard]] constexpr ByteRate towards(ByteRate from, ByteRate to, milliseconds time, milliseconds constant) {
    const std::uint64_t way = std::min(count(time), count(constant));
    if (to > from)
        return {from.value + scaled({to.value - from.value}, way, count(constant)).value};
    return {from.value - scaled({from.value - to.value}, way, count(constant)).value};
}

inline constexpr std::uint64_t mib = 1U << 20;
/// Returns whole MiB, which is what the API takes.
[[nodiscard]] constexpr ByteCount rounded_down(ByteCount amount) {
    return {amount.value / mib * mib};
}
/// REQUIRES: the amount is that of a guest, far from the end of 64 bits.
[[nodiscard]] constexpr ByteCount rounded_up(ByteCount amount) {
    return rounded_down(amount + ByteCount{mib - 1});
}

} // namespace aerate::policy
