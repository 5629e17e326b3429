// The life cycle's rules for requests: what may be asked in which state, and the part that the configuration answers by
// itself. The rest is for the machine.
#pragma once

#include "control/request.hpp"

#include <optional>

namespace aerate::control {

/// Answers the requests that read the configuration, carries out those that change it before the start, and refuses
/// what the state or the configuration does not allow; a refused request has changed nothing. nullopt: the machine
/// carries the request out, and then records a new balloon target or polling interval in `config`.
[[nodiscard]] std::optional<Reply> configure(VmConfig& config, VmState state, const Request&);

} // namespace aerate::control
