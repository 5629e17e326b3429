// Where the fields of the balloon's config space are (virtio 1.2, 5.5.4). Freestanding: drivers of our own use it too.
#pragma once

#include <cstdint>

namespace aerate::balloon::config_space {

inline constexpr std::uint32_t num_pages = 0;
inline constexpr std::uint32_t actual = 4;
inline constexpr std::uint32_t hint_command = 8;
inline constexpr std::uint32_t poison_value = 12;
inline constexpr std::uint32_t size = 16;

} // namespace aerate::balloon::config_space
