#include "migration/delta_cache.hpp"

#include <algorithm>

namespace aerate::migration {

DeltaCache::DeltaCache(ByteCount size, unsigned streams)
    : streams_(streams)
    , places_(size.value / page_size.value)
    , content_(std::make_unique_for_overwrite<std::byte[]>(places_.size() * page_size.value)) {}

std::optional<std::span<std::byte>> DeltaCache::find(FrameNumber frame, unsigned round) {
    const std::size_t at = place_of(frame);
    Place& place = places_[at];
    if (place.round == 0 || place.frame != frame)
        return std::nullopt;
    place.round = round;
    return content_of(at);
}

void DeltaCache::remember(FrameNumber frame, unsigned round, std::span<const std::byte> content) {
    const std::size_t at = place_of(frame);
    Place& place = places_[at];
    if (place.round != 0 && place.frame != frame && place.round + 1 >= round)
        return;
    place = {frame, round};
    std::ranges::copy(content, content_of(at).begin());
}

void DeltaCache::forget(PageRange pages) {
    for (FrameNumber frame = pages.first; frame < pages.end(); ++frame.value)
        if (Place& place = places_[place_of(frame)]; place.frame == frame)
            place.round = 0;
}

} // namespace aerate::migration
