// How a guest is swept, by what its sweeps came to: pure.
//
//     by content first ──▶ little was kept ───────────────────────────▶ that was all
//                     └──▶ much was kept ──▶ by log as well ──▶ what it hints is mostly zero: by content from now on
//                                                          └──▶ it is not: by log from now on
#pragma once

#include "reclaim/sweeper.hpp"

namespace aerate {

class SweepChoice {
public:
    using Way = Sweeper::Way;

    [[nodiscard]] Way first() const { return guest_ == Guest::keeps ? Way::by_log : Way::by_content; }

    /// Returns whether what a sweep by content has kept may be free memory that the guest does not clear: then a sweep
    /// by log is to follow. Of a guest that does clear it, what holds something is in use again.
    [[nodiscard]] bool wants_log(const SweepReport& by_content) const {
        return guest_ != Guest::clears && by_content.read.value - by_content.zero.value > spared(by_content.read).value;
    }

    /// A guest that clears what it hints has written all of it since the ID; one that does not, hardly anything.
    void learn_from_log(const SweepReport& by_log) {
        if (by_log.discarded >= enough)
            guest_ = by_log.zero.value >= by_log.discarded.value / 2 ? Guest::clears : Guest::keeps;
    }

private:
    enum class Guest : std::uint8_t { unknown, clears, keeps };

    static constexpr PageCount enough = whole_pages_of(ByteCount{4U << 20});
    /// What is not worth a second round: 2 % and 4 MiB.
    [[nodiscard]] static PageCount spared(PageCount read) { return {read.value / 50 + enough.value}; }

    Guest guest_ = Guest::unknown;
};

} // namespace aerate
