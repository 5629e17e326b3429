// What `aerate migrate --trace` shows: a pure function of how the migration went and the terminal's width.
#pragma once

#include "control/status.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace aerate::control {

/// Prints a line for each step, with a bar where in the whole it lies; then those in which the guest stood still once
/// more, as a whole of their own. Times are milliseconds, what was sent is KiB.
[[nodiscard]] std::string render_timeline(const std::vector<MigrationStep>&, std::size_t columns);

} // namespace aerate::control
