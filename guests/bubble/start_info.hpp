// What the monitor tells its guest at the start: RAM and the command line.
#pragma once

#include "memory/guest_address.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace bubble {

using namespace aerate;

struct StartInfo {
    std::string_view command_line;
    std::array<PageRange, 4> ram_ranges;
    std::size_t ram_count = 0;

    [[nodiscard]] std::span<const PageRange> ram() const { return {ram_ranges.data(), ram_count}; }
    /// The value of `key=` on the command line, or else `otherwise`.
    [[nodiscard]] std::string_view text(std::string_view key, std::string_view otherwise) const;
    [[nodiscard]] std::uint64_t number(std::string_view key, std::uint64_t otherwise) const;
};

/// RAM that neither bubble nor the boot data is in, which is all behind bubble's image.
[[nodiscard]] StartInfo read_start_info(GuestAddress);

} // namespace bubble
