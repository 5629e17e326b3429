#pragma once

#include <string_view>

namespace aerate::control {
inline constexpr std::string_view version = "0.1.0";
/// The release of Firecracker whose interface this one has.
inline constexpr std::string_view firecracker_version = "1.16.0";
} // namespace aerate::control
