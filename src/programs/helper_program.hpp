// Programs that come with Aerate, and others into which this process turns.
#pragma once

#include "base/error.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace aerate {

/// Returns where a program is that comes along: as seen from this program's build tree (build/PRESET of a checkout), or
/// where `cmake --install` has put it. `otherwise` ends the message of what fails.
[[nodiscard]] Result<std::filesystem::path> find_helper(const std::filesystem::path& from_build,
                                                        const std::filesystem::path& installed,
                                                        std::string_view otherwise);

/// Turns this process into words.front(), found in $PATH if it has no slash. Returns only why it cannot.
[[nodiscard]] Error turn_into(std::vector<std::string> words);

} // namespace aerate
