// What a guest has to spare, and how what is wanted is shared out among those who have.
#pragma once

#include "policy/need.hpp"

#include <span>
#include <vector>

namespace aerate::policy {

struct Spare {
    /// Free in the guest, and not resident: it was reported, or never touched. A balloon takes this first, and the host
    /// gains nothing by it.
    ByteCount hidden{};
    ByteCount idle{}; ///< free, and resident
    ByteCount cold{}; ///< cache that nobody has missed
    ByteCount room{}; ///< down to the floor
    [[nodiscard]] ByteCount all() const { return std::min(idle + cold, room); }
    bool operator==(const Spare&) const = default;
};
[[nodiscard]] Spare spare(const Guest&, const Statistics&, const Habits&, Level);

/// Returns what a guest can be asked for in one tick: a step of each kind.
[[nodiscard]] ByteCount offered(const Spare&, Level);
/// A smaller change is not worth the guest's work.
inline constexpr ByteCount change_min{4 * mib};

struct Offer {
    ByteCount amount{};
    Shares shares{};
};
/// Returns what to take of each offer so that `wanted` is found, or everything is taken: all keep the same amount per
/// share, and those who have less give nothing. Gives at least change_min in all, if there is such an offer, unless
/// nothing is wanted.
[[nodiscard]] std::vector<ByteCount> share_out(std::span<const Offer>, ByteCount wanted);

} // namespace aerate::policy
