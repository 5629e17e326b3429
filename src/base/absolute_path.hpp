// A path that means the same in every directory and to every process.
#pragma once

#include "base/error.hpp"

#include <string>
#include <string_view>

namespace aerate {

/// Puts the current directory before a relative path. Nothing is resolved or tidied up: "a/../b" may lead elsewhere
/// than "b". An empty path stays empty.
[[nodiscard]] Result<std::string> absolute_path(std::string_view path);

} // namespace aerate
