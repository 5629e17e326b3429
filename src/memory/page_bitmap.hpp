// A bit for each frame of the guest-physical address space up to a fixed end. Any thread: words are atomic, so one thread
// may set while another takes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "memory/guest_address.hpp"

namespace aerate {

class PageBitmap {
public:
    PageBitmap() = default;
    explicit PageBitmap(PageCount size);

    [[nodiscard]] PageCount size() const { return size_; }
    [[nodiscard]] bool test(FrameNumber) const;
    /// Bits beyond size() are ignored by set and clear, and read as clear. Both return how many bits changed.
    PageCount set(PageRange);
    PageCount clear(PageRange);
    void clear_all();
    [[nodiscard]] PageCount count() const;
    [[nodiscard]] PageCount count(PageRange) const;
    /// ORs `word` over frames [index * 64, index * 64 + 64).
    void merge_word(std::uint64_t index, std::uint64_t word);
    /// Adds every set bit of this bitmap to `into` and clears it here. Each bit is moved or still here, never lost.
    void move_into(PageBitmap& into);
    /// The first run of set bits at or after `from`, no longer than `longest`; empty when there is none.
    [[nodiscard]] PageRange next_run(FrameNumber from, PageCount longest = {~0ULL}) const;

private:
    using Word = std::atomic<std::uint64_t>;
    [[nodiscard]] std::uint64_t words() const { return (size_.value + 63) / 64; }
    PageCount size_{};
    std::unique_ptr<Word[]> bits_;
};

} // namespace aerate
