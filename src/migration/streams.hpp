// Which of a migration's streams carries a page: always the same, so that what is sent of it arrives in order, whatever
// the streams do among each other. 2 MiB go together, so that no huge page of the destination's is filled by two
// threads.
#pragma once

#include "memory/guest_address.hpp"

#include <algorithm>

namespace aerate::migration {

inline constexpr unsigned max_streams = 16;
inline constexpr PageCount stream_chunk{512};

[[nodiscard]] constexpr unsigned stream_of(FrameNumber frame, unsigned streams) {
    return static_cast<unsigned>(frame.value / stream_chunk.value % streams);
}

/// Returns as much of the beginning of `range` as goes on one stream.
[[nodiscard]] constexpr PageRange on_one_stream(PageRange range, unsigned streams) {
    if (streams == 1)
        return range;
    const PageCount left{stream_chunk.value - range.first.value % stream_chunk.value};
    return {range.first, std::min(range.count, left)};
}

/// Returns where a page is among those of its stream.
[[nodiscard]] constexpr std::uint64_t index_on_stream(FrameNumber frame, unsigned streams) {
    return frame.value / (stream_chunk.value * streams) * stream_chunk.value + frame.value % stream_chunk.value;
}

} // namespace aerate::migration
