// What was sent last of some pages, as much of it as is allowed. Each page has one place that it may be in; it is
// taken from another page when that was not sent in this round or the one before.
#pragma once

#include "memory/guest_address.hpp"
#include "migration/streams.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace aerate::migration {

class DeltaCache {
public:
    /// Of one stream. REQUIRES: at least a page.
    DeltaCache(ByteCount size, unsigned streams);

    /// To be updated in place by whoever sends something newer.
    [[nodiscard]] std::optional<std::span<std::byte>> find(FrameNumber, unsigned round);
    void remember(FrameNumber, unsigned round, std::span<const std::byte> content);
    void forget(PageRange);

private:
    struct Place {
        FrameNumber frame{};
        unsigned round = 0; ///< 0: empty
    };
    [[nodiscard]] std::size_t place_of(FrameNumber frame) const {
        return index_on_stream(frame, streams_) % places_.size();
    }
    [[nodiscard]] std::span<std::byte> content_of(std::size_t place) {
        return {&content_[place * page_size.value], page_size.value};
    }

    unsigned streams_;
    std::vector<Place> places_;
    std::unique_ptr<std::byte[]> content_;
};

} // namespace aerate::migration
