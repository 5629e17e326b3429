// Pages as they arrive: checked, and put into the guest's memory. Each stream has a lane of its own, and a page is
// taken from one stream only, so lanes work at the same time without a lock.
//
// A page must not cost the host 2 MiB, or a few MiB on the wire would take all of a guest's memory. So memory is
// refused huge pages while it arrives, and a lane holds back what comes from the beginning of 2 MiB on:
//
//     page 0, 1, 2 ... 511, one after the other   one huge page, filled at once
//     anything else comes before that             small pages, as many as came
#pragma once

#include "base/error.hpp"
#include "memory/guest_memory.hpp"
#include "memory/page_bitmap.hpp"
#include "migration/wire/compression.hpp"
#include "migration/wire/page_frame.hpp"

#include <atomic>
#include <cstddef>
#include <memory>
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
        PageRange held; ///< the beginning of 2 MiB of which nothing is in memory, and its content:
        std::vector<std::byte> held_content;
    };

    /// Fails when the host refuses the memory. `memory` outlives this.
    [[nodiscard]] static Result<std::unique_ptr<PageIntake>> create(GuestMemory& memory, CompressionKinds compression,
                                                                    unsigned streams);

    /// Begins a round, while no lane takes anything.
    void begin_round(unsigned number);

    [[nodiscard]] Result<> take_pages(std::span<const std::byte> payload, Lane&);
    [[nodiscard]] Result<> take_deltas(std::span<const std::byte> payload, Lane&);
    /// Puts everything that the lane has taken into memory. On its thread, at the end of each round.
    [[nodiscard]] Result<> end_round(Lane&);
    /// Allows huge pages again. While no lane takes anything.
    void finish();

private:
    PageIntake(GuestMemory& memory, CompressionKinds compression, unsigned streams)
        : memory_(memory)
        , compression_(compression)
        , streams_(streams) {}
    [[nodiscard]] Result<> expect(PageRange, const Lane&);
    [[nodiscard]] Result<> put(PageRange, std::span<const std::byte> content, Lane&);
    [[nodiscard]] Result<> write(PageRange, std::span<const std::byte> content);
    [[nodiscard]] bool make_huge(PageRange chunk);
    [[nodiscard]] Result<> make_zero(Lane&);

    GuestMemory& memory_;
    CompressionKinds compression_;
    unsigned streams_;
    unsigned round_ = 0;
    PageBitmap in_round_; ///< a page comes once a round
    PageBitmap written_;  ///< holds content: a zero run must do something there, and a delta has a base
    PageBitmap huge_;     ///< may be huge
    std::atomic<unsigned> huge_stretches_{0};
};

} // namespace aerate::migration
