#include "platform/pvpanic.hpp"

#include <algorithm>
#include <cstddef>

namespace aerate {

void PvPanic::read(std::uint64_t, std::span<std::byte> into) {
    std::ranges::fill(into, std::byte{0});
    into.front() = std::byte{panicked | crash_loaded};
}

void PvPanic::write(std::uint64_t, std::span<const std::byte> from) {
    // A guest that has a kernel for its crash is not lost: that one writes its dump, and resets the machine.
    if ((std::to_integer<std::uint8_t>(from.front()) & panicked) != 0 && !told_.exchange(true))
        on_panic_();
}

} // namespace aerate
