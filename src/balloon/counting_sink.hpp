// Takes hints and does nothing but count them: how much would a sweep, a snapshot or a migration save?
#pragma once

#include "memory/hints.hpp"
#include "memory/page_bitmap.hpp"

#include <utility>

namespace aerate::balloon {

class CountingSink final : public HintSink {
public:
    /// `none` has room for the guest's pages.
    explicit CountingSink(PageBitmap none)
        : pages_(std::move(none)) {}

    void hinted(PageRange range) override {
        unique_ += pages_.set(range);
        total_ += range.count;
        ++ranges_;
    }
    void round_ended(RoundEnd) override { ended_ = true; }

    /// Starts a new round.
    void clear() {
        pages_.clear_all();
        unique_ = total_ = {};
        ranges_ = 0;
        ended_ = false;
    }

    [[nodiscard]] PageCount unique() const { return unique_; }
    [[nodiscard]] PageCount total() const { return total_; }
    [[nodiscard]] std::uint64_t ranges() const { return ranges_; }
    [[nodiscard]] bool ended() const { return ended_; }
    [[nodiscard]] const PageBitmap& pages() const { return pages_; }

private:
    PageBitmap pages_;
    PageCount unique_;
    PageCount total_;
    std::uint64_t ranges_ = 0;
    bool ended_ = false;
};

} // namespace aerate::balloon
