// The last resort before the host's OOM killer: who grows stands still until others have given.
#pragma once

#include "policy/inputs.hpp"

#include <optional>
#include <span>
#include <vector>

namespace aerate::policy {

/// How fast a guest grows by the host's own measurement, so that no guest can talk itself out of it.
struct Growth {
    std::optional<ByteCount> resident{};
    ByteRate rate{};
    std::optional<milliseconds> paused_since{}; ///< nothing: it runs
    bool operator==(const Growth&) const = default;
};
/// Returns the growth after a look. A guest that stands still keeps the rate that it had.
[[nodiscard]] Growth observed(Growth, ByteCount resident, milliseconds elapsed);

struct Grower {
    Growth growth{};
    Shares shares{};
    std::uint64_t priority = 5;
    bool pausable = true;
};
/// Returns who is to stand still: as few as it takes for what the others grow, until they have been looked at twice
/// more, to fit into what the host has, and none that cannot be stopped. Who has stood longest goes first, then who has
/// the higher priority, then who grows least for its shares. One always goes, unless the host is at its last bytes.
[[nodiscard]] std::vector<bool> pauses(std::span<const Grower>, const Host&, milliseconds now, milliseconds elapsed);

} // namespace aerate::policy
