#include "policy/spare.hpp"

namespace aerate::policy {
namespace {

constexpr ByteCount idle_step{256 * mib};
constexpr ByteCount cache_step{64 * mib};

/// What an offer keeps at a level of filling: amounts times shares.
ByteCount kept(const Offer& offer, std::uint64_t filling) {
    // The fewer shares, the less is kept of the same filling: shares_max keep all of it.
    return scaled({filling}, offer.shares.value, shares_max.value);
}
ByteCount taken(std::span<const Offer> offers, std::uint64_t filling) {
    ByteCount all{};
    for (const Offer& offer : offers)
        all += excess(offer.amount, kept(offer, filling));
    return all;
}

/// Returns the highest filling that still leaves `wanted` to take; 0 if there is none.
std::uint64_t filling_for(std::span<const Offer> offers, ByteCount wanted) {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    for (const Offer& offer : offers)
        last = std::max(last, scaled(offer.amount, shares_max.value, offer.shares.value).value);
    while (first < last) {
        const std::uint64_t tried = last - (last - first) / 2;
        if (taken(offers, tried) >= wanted)
            first = tried;
        else
            last = tried - 1;
    }
    return first;
}

} // namespace

Spare spare(const Guest& guest, const Statistics& said, const Habits& habits, Level level) {
    const ByteCount used = excess(guest.size, said.free + guest.actual);
    const ByteCount hidden = excess(said.free, excess(guest.resident, used));
    const ByteCount above = excess(said.available, guard(habits, guest, level) + hidden);
    const ByteCount idle = std::min(above, excess(said.free, guard(habits, guest, level) + hidden));
    const ByteCount hot = level == Level::critical ? ByteCount{} : std::min(habits.hot, said.caches);
    return {.hidden = hidden,
            .idle = idle,
            .cold = excess(above, idle + hot),
            .room = excess(balloon_max(guest), guest.actual + hidden)};
}

ByteCount offered(const Spare& spare, Level level) {
    const ByteCount cache = level == Level::critical ? idle_step : cache_step;
    return std::min(spare.room, std::min(spare.idle, idle_step) + std::min(spare.cold, cache));
}

std::vector<ByteCount> share_out(std::span<const Offer> offers, ByteCount wanted) {
    std::vector<ByteCount> result(offers.size());
    if (wanted == ByteCount{})
        return result;
    const std::uint64_t filling = filling_for(offers, wanted);
    bool any = false;
    std::size_t largest = 0;
    for (std::size_t i = 0; i < offers.size(); ++i) {
        const ByteCount take = excess(offers[i].amount, kept(offers[i], filling));
        if (take >= change_min)
            result[i] = take;
        any = any || take >= change_min;
        if (offers[i].amount > offers[largest].amount)
            largest = i;
    }
    // Little is wanted of many: one gives it.
    if (!any && !offers.empty() && offers[largest].amount >= change_min)
        result[largest] = std::min(offers[largest].amount, std::max(wanted, change_min));
    return result;
}

} // namespace aerate::policy
