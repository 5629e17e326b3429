// The sets that protocol::Precopy works on in production: PageBitmap, and where its lowest bit can be, because the
// engine asks for the next page again and again from 0: without that a round would cost the square of memory's size.
// One thread.
#pragma once

#include "memory/page_bitmap.hpp"
#include "protocol/page_set.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace aerate::migration {

class PagesFromLowest {
public:
    PagesFromLowest() = default;
    /// Fails when the host refuses the memory.
    [[nodiscard]] static Result<PagesFromLowest> create(PageCount size) {
        return PagesFromLowest(TRY(PageBitmap::create(size)));
    }
    /// `nothing` has room for all of the pages.
    explicit PagesFromLowest(PageBitmap nothing)
        : bits_(std::move(nothing)) {}

    void set(PageRange range) {
        if (range.count > PageCount{})
            lowest_ = std::min(lowest_, range.first);
        bits_.set(range);
    }
    void clear(PageRange range) { bits_.clear(range); }
    void clear_all() {
        bits_.clear_all();
        lowest_ = none;
    }
    void add(const PagesFromLowest& other) {
        bits_.add(other.bits_);
        lowest_ = std::min(lowest_, other.lowest_);
    }
    void remove(const PagesFromLowest& other) { remove(other.bits_); }
    void remove(const PageBitmap& other) { bits_.remove(other); }
    void move_into(PagesFromLowest& into) {
        bits_.move_into(into.bits_);
        into.lowest_ = std::min(into.lowest_, lowest_);
        lowest_ = none;
    }
    [[nodiscard]] bool test(FrameNumber frame) const { return bits_.test(frame); }
    [[nodiscard]] PageRange next_run(FrameNumber from, PageCount limit) const {
        const PageRange run = bits_.next_run(std::max(from, lowest_), limit);
        if (from <= lowest_)
            lowest_ = run.count > PageCount{} ? run.first : none;
        return run;
    }

    [[nodiscard]] PageCount count() const { return bits_.count(); }
    [[nodiscard]] const PageBitmap& bits() const { return bits_; }
    /// Returns the set that others add to; they set bits at will.
    [[nodiscard]] PageBitmap& filling() {
        lowest_ = {0};
        return bits_;
    }

private:
    static constexpr FrameNumber none{std::numeric_limits<std::uint64_t>::max()};

    PageBitmap bits_;
    mutable FrameNumber lowest_ = none; ///< no bit is set below
};
static_assert(protocol::PageSet<PagesFromLowest>);

} // namespace aerate::migration
