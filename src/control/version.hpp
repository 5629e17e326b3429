#pragma once

#include <string_view>

namespace aerate::control {
/// The version that the project() of CMakeLists.txt states.
extern const std::string_view version;
/// The release of Firecracker whose interface this one has.
inline constexpr std::string_view firecracker_version = "1.16.0";
} // namespace aerate::control
