// Sizes as people write and read them: "512M", "2G"; everywhere in MiB.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace aerate::control {

/// Parses a whole number and K, M, G or T (with or without "iB"); without a letter it is MiB. At most 2^63 bytes.
[[nodiscard]] Result<ByteCount> parse_size(std::string_view text);
/// Prints MiB with one digit after the point: "1536.0".
[[nodiscard]] std::string in_mib(ByteCount);
/// Prints "-" for what is not known.
[[nodiscard]] std::string in_mib(const std::optional<ByteCount>&);

} // namespace aerate::control
