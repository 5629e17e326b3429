// Formats of disk images that a guest cannot read: what is in such a file is not the disk.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace aerate {

/// How much of an image's beginning foreign_format() wants; less if there is less.
inline constexpr std::size_t format_probe_size = 512;

/// Returns the name that `qemu-img convert -f` has for the format, or an empty one for what looks like a disk.
[[nodiscard]] std::string_view foreign_format(std::span<const std::byte> beginning);

} // namespace aerate
