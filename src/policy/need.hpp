// What a guest needs, and what is left to it beside that, from how it behaved.
#pragma once

#include "policy/inputs.hpp"
#include "policy/level.hpp"

#include <optional>

namespace aerate::policy {

/// What is remembered of a guest's use of memory.
struct Habits {
    std::optional<ByteCount> last{}; ///< need at the last look
    ByteCount slow{};                ///< need, which falls by half in ten minutes at most
    ByteCount burst{};               ///< the largest rise between two looks, halved each half hour
    ByteCount hot{};                 ///< cache that was missed when it was taken, halved each quarter of an hour
    std::optional<ByteCount> reread{};
    ByteRate rereading{}; ///< now
    ByteRate usual{};     ///< without a balloon
    bool operator==(const Habits&) const = default;
};

/// Returns what the guest cannot give, by its own word.
[[nodiscard]] ByteCount need(const Guest&, const Statistics&);
/// Returns the habits after a look at the guest.
[[nodiscard]] Habits observed(Habits, const Guest&, milliseconds elapsed);
/// Returns what is left to the guest above its need, whatever the host wants.
[[nodiscard]] ByteCount guard(const Habits&, const Guest&, Level);
/// Returns whether the guest reads again, because of its balloon, more than it would by itself: by `margin`.
[[nodiscard]] bool misses_cache(const Habits&, ByteRate margin);

inline constexpr ByteRate noticed_misses{2 * mib}; ///< what was cached then is hot
inline constexpr ByteRate harmful_misses{6 * mib}; ///< the balloon gives way

} // namespace aerate::policy
