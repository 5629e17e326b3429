// VmStatus in Prometheus' text exposition format, version 0.0.4. Printed here rather than by a metrics library: values
// are exact 64-bit integers and there is no registry to keep.
#pragma once

#include "control/status.hpp"

#include <string>

namespace aerate::control {

[[nodiscard]] std::string print_metrics(const VmStatus&);

} // namespace aerate::control
