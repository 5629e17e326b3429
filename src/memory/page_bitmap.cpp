#include "memory/page_bitmap.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <atomic>
#include <bit>

namespace aerate {
namespace {

constexpr std::uint64_t bits_per_word = 64;
constexpr std::uint64_t words_per_group = 64;
constexpr std::uint64_t group_pages = words_per_group * bits_per_word; // 16 MiB
constexpr std::uint64_t all_ones = ~0ULL;

std::atomic_ref<std::uint64_t> atomic(std::uint64_t& word) {
    return std::atomic_ref(word);
}

constexpr std::uint64_t divided_up(std::uint64_t value, std::uint64_t by) {
    return (value + by - 1) / by;
}

PageCount ones_in(std::uint64_t word) {
    return {static_cast<std::uint64_t>(std::popcount(word))};
}

} // namespace

PageBitmap::PageBitmap(PageCount size) {
    auto created = create(size);
    CHECK(created);
    *this = *std::move(created);
}

Result<PageBitmap> PageBitmap::create(PageCount size) {
    auto bits = host::zeroed<std::uint64_t>(divided_up(size.value, bits_per_word));
    auto marks = host::zeroed<std::uint64_t>(divided_up(size.value, group_pages * bits_per_word));
    if (bits == nullptr || marks == nullptr)
        return fail_errno("the host has no memory for a bit for each of {} pages", size.value);
    return PageBitmap(size, std::move(bits), std::move(marks));
}

std::uint64_t PageBitmap::load(std::uint64_t index) const {
    return atomic(bits_[index]).load(std::memory_order_acquire);
}

/// Marks the group of a word in which a bit has been set. A plain look is enough where it is marked already: who
/// unmarked it and took this word before the bit came has done so before that bit's read-modify-write, which saw what
/// he left.
void PageBitmap::mark(std::uint64_t index) {
    const std::uint64_t group = index / words_per_group;
    const std::uint64_t bit = 1ULL << group % bits_per_word;
    const auto marks = atomic(marks_[group / bits_per_word]);
    if ((marks.load(std::memory_order_acquire) & bit) == 0)
        marks.fetch_or(bit, std::memory_order_acq_rel);
}

/// REQUIRES: every word of the group is taken or cleared after this.
void PageBitmap::unmark(std::uint64_t group) {
    atomic(marks_[group / bits_per_word]).fetch_and(~(1ULL << group % bits_per_word), std::memory_order_acq_rel);
}

/// Returns the first word at or after that one in which a bit may be set; words() when there is none.
std::uint64_t PageBitmap::next_marked(std::uint64_t index) const {
    const std::uint64_t groups = divided_up(words(), words_per_group);
    for (std::uint64_t group = index / words_per_group; group < groups;) {
        const std::uint64_t marks =
            atomic(marks_[group / bits_per_word]).load(std::memory_order_acquire) >> group % bits_per_word;
        if (marks != 0) {
            group += static_cast<std::uint64_t>(std::countr_zero(marks));
            return std::max(index, group * words_per_group);
        }
        group = (group / bits_per_word + 1) * bits_per_word;
    }
    return words();
}

/// Calls visit(index, mask) for each word that the range, clipped to size(), touches.
template <typename Visit>
void PageBitmap::visit_words(PageRange range, Visit&& visit) const {
    if (range.first.value >= size_.value || range.count.value == 0)
        return;
    const std::uint64_t first = range.first.value;
    const std::uint64_t last = first + std::min(range.count.value, size_.value - first) - 1;
    for (std::uint64_t index = first / bits_per_word; index <= last / bits_per_word; ++index) {
        std::uint64_t mask = all_ones;
        if (index == first / bits_per_word)
            mask &= all_ones << (first % bits_per_word);
        if (index == last / bits_per_word)
            mask &= all_ones >> (bits_per_word - 1 - last % bits_per_word);
        visit(index, mask);
    }
}

/// Calls visit(part) for each part of the range in which bits may be set: one group's, or less at the range's ends.
template <typename Visit>
void PageBitmap::visit_marked(PageRange range, Visit&& visit) const {
    if (range.first.value >= size_.value || range.count.value == 0)
        return;
    const std::uint64_t end = range.first.value + std::min(range.count.value, size_.value - range.first.value);
    for (std::uint64_t first = range.first.value; first < end;) {
        first = std::max(first, next_marked(first / bits_per_word) * bits_per_word);
        const std::uint64_t next = std::min(end, (first / group_pages + 1) * group_pages);
        if (first < end)
            visit(PageRange{{first}, {next - first}});
        first = next;
    }
}

bool PageBitmap::test(FrameNumber frame) const {
    return frame.value < size_.value && (load(frame.value / bits_per_word) >> (frame.value % bits_per_word) & 1U) != 0;
}

PageCount PageBitmap::set(PageRange range) {
    PageCount changed{};
    visit_words(range, [&](std::uint64_t index, std::uint64_t mask) {
        // Always a read-modify-write, even when the bit looks set already: a plain load could pass the caller's store
        // of the page, and a reader that takes the old bit in between would read the old bytes and find no bit the next
        // time.
        const auto word = atomic(bits_[index]);
        const std::uint64_t before = mask == all_ones ? word.exchange(all_ones, std::memory_order_acq_rel)
                                                      : word.fetch_or(mask, std::memory_order_acq_rel);
        mark(index);
        changed += ones_in(mask & ~before);
    });
    return changed;
}

PageCount PageBitmap::clear(PageRange range) {
    PageCount changed{};
    visit_marked(range, [&](PageRange part) {
        const std::uint64_t group = part.first.value / group_pages;
        if (part.count.value == std::min(group_pages, size_.value - group * group_pages))
            unmark(group);
        visit_words(part, [&](std::uint64_t index, std::uint64_t mask) {
            const auto word = atomic(bits_[index]);
            if ((word.load(std::memory_order_relaxed) & mask) == 0)
                return;
            const std::uint64_t before = mask == all_ones ? word.exchange(0, std::memory_order_acq_rel)
                                                          : word.fetch_and(~mask, std::memory_order_acq_rel);
            changed += ones_in(mask & before);
        });
    });
    return changed;
}

void PageBitmap::clear_all() {
    clear(every_page);
}

PageCount PageBitmap::count() const {
    return count(every_page);
}

PageCount PageBitmap::count(PageRange range) const {
    PageCount total{};
    visit_marked(range, [&](PageRange part) {
        visit_words(part, [&](std::uint64_t index, std::uint64_t mask) { total += ones_in(load(index) & mask); });
    });
    return total;
}

void PageBitmap::merge_word(std::uint64_t index, std::uint64_t word) {
    if (index >= words() || word == 0)
        return;
    const std::uint64_t valid = size_.value - index * bits_per_word;
    if (valid < bits_per_word)
        word &= all_ones >> (bits_per_word - valid);
    atomic(bits_[index]).fetch_or(word, std::memory_order_acq_rel);
    mark(index);
}

void PageBitmap::move_into(PageBitmap& into) {
    visit_marked(every_page, [&](PageRange part) {
        unmark(part.first.value / group_pages);
        visit_words(part, [&](std::uint64_t index, std::uint64_t) {
            if (atomic(bits_[index]).load(std::memory_order_relaxed) != 0)
                into.merge_word(index, atomic(bits_[index]).exchange(0, std::memory_order_acq_rel));
        });
    });
}

void PageBitmap::add(const PageBitmap& other, PageRange in) {
    other.visit_marked(in, [&](PageRange part) {
        other.visit_words(
            part, [&](std::uint64_t index, std::uint64_t mask) { merge_word(index, other.load(index) & mask); });
    });
}

void PageBitmap::remove(const PageBitmap& other) {
    visit_marked({{0}, {std::min(size_.value, other.size_.value)}}, [&](PageRange part) {
        other.visit_marked(part, [&](PageRange of_both) {
            visit_words(of_both, [&](std::uint64_t index, std::uint64_t) {
                if (const std::uint64_t taken = other.load(index) & load(index); taken != 0)
                    atomic(bits_[index]).fetch_and(~taken, std::memory_order_acq_rel);
            });
        });
    });
}

PageRange PageBitmap::next_run(FrameNumber from, PageCount longest) const {
    if (from.value >= size_.value || longest.value == 0)
        return {};
    std::uint64_t index = from.value / bits_per_word;
    std::uint64_t word = load(index) & (all_ones << (from.value % bits_per_word));
    while (word == 0) {
        index = next_marked(index + 1);
        if (index == words())
            return {};
        word = load(index);
    }
    const std::uint64_t first_bit = static_cast<std::uint64_t>(std::countr_zero(word));
    const std::uint64_t first = index * bits_per_word + first_bit;

    // Bits beyond size() are never set, so the run ends at the latest with the last word.
    std::uint64_t count = static_cast<std::uint64_t>(std::countr_one(word >> first_bit));
    bool open = first_bit + count == bits_per_word;
    while (open && count < longest.value && ++index < words()) {
        const std::uint64_t more = static_cast<std::uint64_t>(std::countr_one(load(index)));
        count += more;
        open = more == bits_per_word;
    }
    return {{first}, {std::min(count, longest.value)}};
}

} // namespace aerate
