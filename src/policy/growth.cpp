#include "policy/growth.hpp"

#include <algorithm>

namespace aerate::policy {
namespace {

constexpr milliseconds half_life = std::chrono::seconds(2);
constexpr ByteRate slowest{4 * mib};
/// For a decision to be carried out.
constexpr milliseconds reaction{300};
/// Guests that stand still take turns.
constexpr milliseconds turn = std::chrono::seconds(10);

bool goes_before(const Grower& a, const Grower& b, milliseconds now) {
    const auto turns = [now](const Growth& growth) {
        return growth.paused_since ? since(*growth.paused_since, now) / turn : 0;
    };
    if (a.pausable != b.pausable)
        return !a.pausable; // what it takes is gone
    if (turns(a.growth) != turns(b.growth))
        return turns(a.growth) > turns(b.growth);
    if (a.priority != b.priority)
        return a.priority > b.priority;
    if (a.growth.paused_since.has_value() != b.growth.paused_since.has_value())
        return !a.growth.paused_since;
    const auto weight = [](Shares shares, const Growth& other) {
        return detail::Wide{shares.value} * (other.rate.value + mib);
    };
    return weight(a.shares, b.growth) > weight(b.shares, a.growth);
}

} // namespace

Growth observed(Growth growth, ByteCount resident, milliseconds elapsed) {
    if (!growth.paused_since) {
        const ByteRate now = rate_of(excess(resident, growth.resident.value_or(resident)), elapsed);
        growth.rate = std::min(std::max(now, decayed(growth.rate, elapsed, half_life)), rate_max);
    }
    growth.resident = resident;
    return growth;
}

std::vector<bool> pauses(std::span<const Grower> growers, const Host& host, milliseconds now, milliseconds elapsed) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < growers.size(); ++i)
        if (growers[i].growth.rate > slowest || growers[i].growth.paused_since)
            order.push_back(i);
    std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
        const bool before = goes_before(growers[a], growers[b], now);
        return before || (!goes_before(growers[b], growers[a], now) && a < b);
    });

    std::vector<bool> result(growers.size());
    const ByteCount room = excess(host.available, {host.reserve.value / 2});
    ByteCount used{};
    for (const std::size_t i : order) {
        used = sum(used, over(growers[i].growth.rate, 2 * elapsed + reaction));
        result[i] = used > room && growers[i].pausable;
    }
    // No paused guest fits, but each has to finish some day.
    const auto first = std::ranges::find_if(order, [&](std::size_t i) { return growers[i].pausable; });
    if (first != order.end() && host.available > ByteCount{host.reserve.value / 4})
        result[*first] = false;
    return result;
}

} // namespace aerate::policy
