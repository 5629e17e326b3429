// Pages as they arrive: checked, and put into the guest's memory. Each stream has a lane of its own, and a page is
// taken from one stream only, so lanes work at the same time without a lock.
#pragma once

#include "base/error.hpp"
#include "memory/guest_memory.hpp"
#include "memory/page_bitmap.hpp"
#include "migration/compression.hpp"
#include "migration/page_frame.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace aerate::migration {

class PageIntake {
public:
    /// One stream's, its thread's.
    struct Lane {
        unsigned stream = 0;
        PageCount pages; ///< with content
        PageCount deltas;
        PageCount zero;
        std::vector<std::byte> decoded;
        std::vector<PageRange> to_zero;
    };

    /// `memory` outlives this.
    PageIntake(GuestMemory& memory, CompressionKinds compression, unsigned streams);

    /// While no lane takes anything.
    void begin_round(unsigned number);

    [[nodiscard]] Result<> take_pages(std::span<const std::byte> payload, Lane&);
    [[nodiscard]] Result<> take_deltas(std::span<const std::byte> payload, Lane&);

private:
    [[nodiscard]] Result<> expect(PageRange, const Lane&);
    [[nodiscard]] Result<> make_zero(Lane&);

    GuestMemory& memory_;
    CompressionKinds compression_;
    unsigned streams_;
    unsigned round_ = 0;
    PageBitmap in_round_; ///< a page comes once a round
    PageBitmap written_;  ///< holds content: a zero run must do something there, and a delta has a base
};

} // namespace aerate::migration
