// Sizes as people are told them: whole MiB.
#pragma once

#include "base/units.hpp"

#include <cstdint>

namespace aerate::hostd {

[[nodiscard]] constexpr std::uint64_t mib_of(ByteCount size) {
    return size.value >> 20;
}

} // namespace aerate::hostd
