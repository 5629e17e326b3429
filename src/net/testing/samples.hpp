// What released versions wrote of a network card, and every later one reads: see docs/architecture.md, "Saved state and
// its versions".
#pragma once

#include <array>
#include <cstdint>

namespace aerate::net::testing {

/// A driver that had accepted everything there was then, a link that was up, and no rate limiter.
inline constexpr std::array<std::uint8_t, 36> version_1_sample{
    2,   0, 0, 0, 0, 1,                // the MAC address
    0,   1,                            // no announcement; the link is up
    130, 1, 0, 0, 0, 0, 0, 0,          // offloads
    0,   0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // limiters
    0,   0, 0, 0, 0, 0, 0, 0, 0,
};

} // namespace aerate::net::testing
