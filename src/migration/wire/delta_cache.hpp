// What was sent last of some pages, as much of it as is allowed. Each page has one place that it may be in; it is
// taken from another page when that was not sent in this round or the one before.
#pragma once

#include "base/error.hpp"
#include "base/host.hpp"
#include "memory/guest_address.hpp"
#include "migration/streams.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

namespace aerate::migration {

class DeltaCache {
public:
    /// Creates the cache of one stream. Fails when the host refuses the memory. REQUIRES: at least a page.
    [[nodiscard]] static Result<DeltaCache> create(ByteCount size, unsigned streams);

    /// Returns what was sent last, which the sender of something newer updates in place.
    [[nodiscard]] std::optional<std::span<std::byte>> find(FrameNumber, unsigned round);
    void remember(FrameNumber, unsigned round, std::span<const std::byte> content);
    void forget(PageRange);

private:
    struct Entry {
        FrameNumber frame{};
        unsigned round = 0; ///< 0: empty
    };
    [[nodiscard]] std::size_t index_of(FrameNumber frame) const { return index_on_stream(frame, streams_) % count_; }
    [[nodiscard]] std::span<std::byte> content_of(std::size_t index) {
        return {&content_[index * page_size.value], page_size.value};
    }

    using Entries = std::unique_ptr<Entry[], host::FreeMemory>;
    using Content = std::unique_ptr<std::byte[], host::FreeMemory>;
    DeltaCache(unsigned streams, std::size_t count, Entries entries, Content content)
        : streams_(streams)
        , count_(count)
        , entries_(std::move(entries))
        , content_(std::move(content)) {}

    unsigned streams_;
    std::size_t count_;
    Entries entries_;
    Content content_;
};

} // namespace aerate::migration
