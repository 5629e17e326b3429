// The commands of free page hinting that are no command ID (virtio 1.2, 5.5.6.5). Freestanding: drivers of our own use
// them too.
#pragma once

#include <cstdint>

namespace aerate::protocol {

inline constexpr std::uint32_t command_stop = 0;
inline constexpr std::uint32_t command_done = 1;
inline constexpr std::uint32_t first_command_id = 2;

} // namespace aerate::protocol
