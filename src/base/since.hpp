// How long ago something was.
#pragma once

#include <chrono>

namespace aerate {

[[nodiscard]] inline std::chrono::microseconds since(std::chrono::steady_clock::time_point then) {
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - then);
}

} // namespace aerate
