// What the API says of this process's confinement.
#pragma once

#include "control/status.hpp"

#include <optional>

namespace aerate {

/// Returns nothing if it is off. Main loop.
[[nodiscard]] std::optional<control::SandboxStatus> sandbox_status();

} // namespace aerate
