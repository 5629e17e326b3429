// Makes the names in a directory durable, as fsync(2) of a file makes its content.
#pragma once

#include "base/error.hpp"

#include <string>

namespace aerate {

[[nodiscard]] Result<> sync_directory(const std::string& directory);

} // namespace aerate
