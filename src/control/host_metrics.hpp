// HostStatus in Prometheus' text format: the host and all of its VMs at once, so that one target a host is enough.
#pragma once

#include "control/host_status.hpp"

#include <string>

namespace aerate::control {

/// Prints less than 40 series a VM.
[[nodiscard]] std::string print_host_metrics(const HostStatus&);

} // namespace aerate::control
