#include "control/version.hpp"

namespace aerate::control {
constinit const std::string_view version = AERATE_VERSION;
} // namespace aerate::control
