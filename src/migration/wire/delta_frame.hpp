// The payload of a `deltas` frame: how pages differ from what was last sent of them, and is there still.
//
//     | count 4 | first 8, base's sum 8, length 4, LZ4 of (old xor new) | ...
//
// The sum makes sure that both sides mean the same base: a page that the destination has in another state is refused.
#pragma once

#include "base/error.hpp"
#include "memory/guest_address.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace aerate::migration {

inline constexpr std::size_t frame_deltas = 512;
/// One that is longer is not worth it: then the page is sent as it is.
inline constexpr std::size_t longest_delta = 2048;

class DeltaFrameBuilder {
public:
    /// Makes `base` equal to `now`. False when the difference is too large; then nothing has changed.
    /// REQUIRES: not full(); both have the size of a page.
    [[nodiscard]] bool add(FrameNumber, std::span<std::byte> base, std::span<const std::byte> now);

    [[nodiscard]] bool empty() const { return count_ == 0; }
    [[nodiscard]] bool full() const { return count_ == frame_deltas; }
    [[nodiscard]] PageCount pages() const { return {count_}; }
    /// Returns the frame, with room for its header in front; valid until the next add(), which begins anew.
    [[nodiscard]] std::span<std::byte> finish();

private:
    std::vector<std::byte> frame_;
    std::size_t count_ = 0;
    std::size_t length_ = 0;
};

struct Delta {
    FrameNumber page;
    std::uint64_t base_sum = 0;
    std::span<const std::byte> packed;
};

[[nodiscard]] Result<std::vector<Delta>> parse_deltas(std::span<const std::byte> payload);
/// Makes the page that was the base of what is packed. False when it was not, or that is damaged: then nothing has
/// changed.
[[nodiscard]] bool apply_delta(const Delta&, std::span<std::byte> page);

} // namespace aerate::migration
