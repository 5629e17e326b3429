#include "migration/wire/delta_cache.hpp"

#include <algorithm>

namespace aerate::migration {

Result<DeltaCache> DeltaCache::create(ByteCount size, unsigned streams) {
    const std::size_t count = size.value / page_size.value;
    auto entries = host::zeroed<Entry>(count);
    if (entries == nullptr)
        return fail_errno("the host has no memory to track {} sent pages", count);
    auto content = host::zeroed<std::byte>(count * page_size.value);
    if (content == nullptr)
        return fail_errno("the host has no memory to keep {} sent pages", count);
    return DeltaCache(streams, count, std::move(entries), std::move(content));
}

std::optional<std::span<std::byte>> DeltaCache::find(FrameNumber frame, unsigned round) {
    const std::size_t at = index_of(frame);
    Entry& entry = entries_[at];
    if (entry.round == 0 || entry.frame != frame)
        return std::nullopt;
    entry.round = round;
    return content_of(at);
}

void DeltaCache::remember(FrameNumber frame, unsigned round, std::span<const std::byte> content) {
    const std::size_t at = index_of(frame);
    Entry& entry = entries_[at];
    if (entry.round != 0 && entry.frame != frame && entry.round + 1 >= round)
        return;
    entry = {frame, round};
    std::ranges::copy(content, content_of(at).begin());
}

void DeltaCache::forget(PageRange pages) {
    for (FrameNumber frame = pages.first; frame < pages.end(); ++frame.value)
        if (Entry& entry = entries_[index_of(frame)]; entry.frame == frame)
            entry.round = 0;
}

} // namespace aerate::migration
