// Reading part of an open file.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"

#include <cstddef>
#include <span>

namespace aerate::snapshot {

/// Fills `into` from `offset` on; an error when the file ends before.
[[nodiscard]] Result<> read_at(int fd, std::span<std::byte> into, ByteCount offset);

} // namespace aerate::snapshot
