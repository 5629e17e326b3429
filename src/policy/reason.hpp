// Why the law does with a guest's balloon what it does.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

namespace aerate::policy {

enum class Reason : std::uint8_t {
    kept,
    idle_taken,
    cache_taken,
    given_back,
    stopped,
    distress,
    below_guard,
    missing_cache,
    stuck,
    in_hold,
    stale,
    no_word,
    at_floor,
    nothing_to_take,
};

struct ReasonWords {
    Reason reason;
    std::string_view name;  ///< in JSON and in metrics
    std::string_view words; ///< for people
};
inline constexpr std::array<ReasonWords, 14> reasons{{
    {Reason::kept, "kept", "nothing is to be changed"},
    {Reason::idle_taken, "idle_taken", "the host is short: takes memory that the guest does not use"},
    {Reason::cache_taken, "cache_taken", "the host is short: takes file cache that the guest has not missed"},
    {Reason::given_back, "given_back", "the host has plenty: gives memory back"},
    {Reason::stopped, "stopped", "the host is no longer short: the balloon stops where it is"},
    {Reason::distress, "distress", "the guest ran out of memory: gives memory back at once"},
    {Reason::below_guard, "below_guard", "the guest has too little to spare: gives memory back at once"},
    {Reason::missing_cache, "missing_cache", "the guest reads again what it had cached: gives memory back"},
    {Reason::stuck, "stuck", "the guest finds no more memory to give: asks no further"},
    {Reason::in_hold, "in_hold", "the guest was asked for too much a short time ago: leaves it alone"},
    {Reason::stale, "stale", "the guest's statistics are old: takes nothing"},
    {Reason::no_word, "no_word", "the guest reports no statistics: takes nothing"},
    {Reason::at_floor, "at_floor", "the guest is at the floor that was configured"},
    {Reason::nothing_to_take, "nothing_to_take", "the guest needs all that it has"},
}};
[[nodiscard]] constexpr const ReasonWords& explain(Reason reason) {
    return *std::ranges::find(reasons, reason, &ReasonWords::reason);
}

/// Returns whether this is why a guest gives nothing while the host is short.
[[nodiscard]] constexpr bool excuses(Reason reason) {
    constexpr std::array excuse{Reason::distress, Reason::below_guard, Reason::stuck,    Reason::in_hold,
                                Reason::stale,    Reason::no_word,     Reason::at_floor, Reason::nothing_to_take};
    return std::ranges::find(excuse, reason) != excuse.end();
}

} // namespace aerate::policy
