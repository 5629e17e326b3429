// Which guests are on a host: five mixes.
#pragma once

#include "guest.hpp"

#include <array>
#include <string_view>
#include <vector>

namespace aerate::sim {

inline constexpr std::array<std::string_view, 5> mixes{"office", "ci", "herd", "cache", "hostile"};

/// Makes the same guests for the same seed. REQUIRES: the mix is one of `mixes`.
[[nodiscard]] std::vector<Guest> fleet(std::string_view mix, std::size_t count, unsigned seed);

[[nodiscard]] double promised(const std::vector<Guest>&);

} // namespace aerate::sim
