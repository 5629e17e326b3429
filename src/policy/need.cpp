#include "policy/need.hpp"

namespace aerate::policy {
namespace {

constexpr milliseconds slow_half_life = std::chrono::minutes(10);
constexpr milliseconds burst_half_life = std::chrono::minutes(30);
constexpr milliseconds hot_half_life = std::chrono::minutes(15);
constexpr milliseconds rereading_time = std::chrono::seconds(3);
constexpr milliseconds usual_time = std::chrono::minutes(1);
constexpr ByteCount hot_margin{128 * mib}; ///< twice what a tick takes of a cache
constexpr ByteCount guard_least{64 * mib};

} // namespace

ByteCount need(const Guest& guest, const Statistics& said) {
    return excess(guest.size, guest.actual + said.available);
}

Habits observed(Habits habits, const Guest& guest, milliseconds elapsed) {
    const Statistics* said = fresh(guest);
    if (said == nullptr)
        return habits;
    const ByteCount now = need(guest, *said);
    habits.burst = decayed(habits.burst, elapsed, burst_half_life);
    if (habits.last)
        habits.burst = std::max(habits.burst, excess(now, *habits.last));
    habits.slow = std::max(now, decayed(habits.slow, elapsed, slow_half_life));
    habits.last = now;

    // Counters begin anew when the guest does.
    const ByteCount reread = excess(guest.reread, habits.reread.value_or(guest.reread));
    habits.reread = guest.reread;
    habits.rereading = towards(habits.rereading, std::min(rate_of(reread, elapsed), rate_max), elapsed, rereading_time);
    if (guest.actual < ByteCount{mib})
        habits.usual = towards(habits.usual, habits.rereading, elapsed, usual_time);
    // The host cannot see which part of a cache is in use until the guest misses it.
    habits.hot = decayed(habits.hot, elapsed, hot_half_life);
    if (guest.actual >= ByteCount{mib} && misses_cache(habits, noticed_misses))
        habits.hot = std::max(habits.hot, said->caches + hot_margin);
    return habits;
}

ByteCount guard(const Habits& habits, const Guest& guest, Level level) {
    const ByteCount least = guard_least + scaled(guest.size, 1, 64);
    if (level == Level::critical)
        return least;
    return std::max({least, scaled(habits.slow, 1, 10), std::min(habits.burst, scaled(guest.size, 1, 4))});
}

bool misses_cache(const Habits& habits, ByteRate margin) {
    return habits.rereading.value > habits.usual.value + margin.value;
}

} // namespace aerate::policy
