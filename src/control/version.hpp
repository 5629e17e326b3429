#pragma once

#include <string_view>

namespace aerate::control {
inline constexpr std::string_view version = "0.1.0";
} // namespace aerate::control
