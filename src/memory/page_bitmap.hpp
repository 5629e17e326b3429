// A bit for each frame of the guest-physical address space up to a fixed end. Any thread: words are atomic, so one
// thread may set while another takes. Memory is spent only where bits have been set: a bitmap over 16 TiB costs nothing
// at first. So is time: a second bitmap says of each 16 MiB whether any of its bits may be set, and all but set() pass
// over what it denies. Over 1 TiB it has 8 KiB.
//
//     for_each_run(dirty, [&](PageRange run) { send(run); });
//
// set() before a take in another thread orders as follows: code that sees the bit (test, move_into, next_run) also sees
// the bytes stored before set(). Until set() has returned test() may see a bit that a pass over all of them misses.
#pragma once

#include "base/error.hpp"
#include "base/host.hpp"
#include "memory/guest_address.hpp"

#include <cstdint>
#include <memory>
#include <utility>

namespace aerate {

class PageBitmap {
public:
    PageBitmap() = default;
    /// Fails when the host refuses the memory.
    [[nodiscard]] static Result<PageBitmap> create(PageCount size);
    /// Serves tests and models, which end when the host refuses it.
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
    /// Adds every set bit of this bitmap to `into` and clears it here. Each bit is moved or still here, never lost;
    /// bits beyond the end of `into` are dropped.
    void move_into(PageBitmap& into);
    /// Adds the bits that `other` has in the range, and takes all of them away. Bits beyond the smaller of the two are
    /// left alone.
    void add(const PageBitmap& other, PageRange in = every_page);
    void remove(const PageBitmap& other);
    /// Returns the first run of set bits at or after `from`, no longer than `longest`; empty when there is none.
    [[nodiscard]] PageRange next_run(FrameNumber from, PageCount longest = {~0ULL}) const;

private:
    using Words = std::unique_ptr<std::uint64_t[], host::FreeMemory>;

    PageBitmap(PageCount size, Words bits, Words marks)
        : size_(size)
        , bits_(std::move(bits))
        , marks_(std::move(marks)) {}
    [[nodiscard]] std::uint64_t words() const { return (size_.value + 63) / 64; }
    [[nodiscard]] std::uint64_t load(std::uint64_t index) const;
    void mark(std::uint64_t index);
    void unmark(std::uint64_t group);
    [[nodiscard]] std::uint64_t next_marked(std::uint64_t index) const;
    template <typename Visit>
    void visit_words(PageRange, Visit&&) const;
    template <typename Visit>
    void visit_marked(PageRange, Visit&&) const;

    PageCount size_{};
    // Plain words, each access through std::atomic_ref, because the host's zeros come without touching the memory.
    Words bits_;
    // A bit for each 64 words. Who sets a bit there marks it after; who takes bits unmarks it before. So a bit that is
    // set when all is done is marked, whatever raced.
    Words marks_;
};

/// Calls visit(run) for each run of set bits, ascending.
template <typename Visit>
void for_each_run(const PageBitmap& pages, Visit&& visit) {
    for (PageRange run = pages.next_run({0}); run.count > PageCount{0}; run = pages.next_run(run.end()))
        visit(run);
}

} // namespace aerate
