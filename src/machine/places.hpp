// Which files a VM opens when its guest runs already: for its next life after a reset, for its operator.
#pragma once

#include "confine/paths.hpp"
#include "control/vm_config.hpp"

#include <vector>

namespace aerate {

/// Appends what any VM opens, and what this configuration names.
void add_places_of(const control::VmConfig&, std::vector<confine::Place>&);

} // namespace aerate
