#include "memory/page_bitmap.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <atomic>
#include <bit>

namespace aerate {
namespace {

constexpr std::uint64_t bits_per_word = 64;
constexpr std::uint64_t all_ones = ~0ULL;

std::atomic_ref<std::uint64_t> atomic(std::uint64_t& word) {
    return std::atomic_ref(word);
}

PageCount ones_in(std::uint64_t word) {
    return {static_cast<std::uint64_t>(std::popcount(word))};
}

} // namespace

PageBitmap::PageBitmap(PageCount size)
    : PageBitmap(size, host::zeroed<std::uint64_t>((size.value + bits_per_word - 1) / bits_per_word)) {
    CHECK(bits_ != nullptr);
}

Result<PageBitmap> PageBitmap::create(PageCount size) {
    auto bits = host::zeroed<std::uint64_t>((size.value + bits_per_word - 1) / bits_per_word);
    if (bits == nullptr)
        return fail_errno("the host has no memory for a bit for each of {} pages", size.value);
    return PageBitmap(size, std::move(bits));
}

std::uint64_t PageBitmap::load(std::uint64_t index) const {
    return atomic(bits_[index]).load(std::memory_order_acquire);
}

/// Calls visit(word, mask) for each word that the range, clipped to size(), touches.
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
        visit(bits_[index], mask);
    }
}

bool PageBitmap::test(FrameNumber frame) const {
    return frame.value < size_.value && (load(frame.value / bits_per_word) >> (frame.value % bits_per_word) & 1U) != 0;
}

PageCount PageBitmap::set(PageRange range) {
    PageCount changed{};
    visit_words(range, [&](std::uint64_t& word, std::uint64_t mask) {
        // Always a read-modify-write, even when the bit looks set already: a plain load could pass the caller's store
        // of the page, and a reader that takes the old bit in between would read the old bytes and find no bit the next
        // time.
        const std::uint64_t before = mask == all_ones ? atomic(word).exchange(all_ones, std::memory_order_acq_rel)
                                                      : atomic(word).fetch_or(mask, std::memory_order_acq_rel);
        changed += ones_in(mask & ~before);
    });
    return changed;
}

PageCount PageBitmap::clear(PageRange range) {
    PageCount changed{};
    visit_words(range, [&](std::uint64_t& word, std::uint64_t mask) {
        if ((atomic(word).load(std::memory_order_relaxed) & mask) == 0)
            return;
        const std::uint64_t before = mask == all_ones ? atomic(word).exchange(0, std::memory_order_acq_rel)
                                                      : atomic(word).fetch_and(~mask, std::memory_order_acq_rel);
        changed += ones_in(mask & before);
    });
    return changed;
}

void PageBitmap::clear_all() {
    clear({{0}, size_});
}

PageCount PageBitmap::count() const {
    return count({{0}, size_});
}

PageCount PageBitmap::count(PageRange range) const {
    PageCount total{};
    visit_words(range, [&](std::uint64_t& word, std::uint64_t mask) {
        total += ones_in(atomic(word).load(std::memory_order_acquire) & mask);
    });
    return total;
}

PageCount PageBitmap::count_without(const PageBitmap& other, PageRange range) const {
    PageCount total{};
    visit_words(range, [&](std::uint64_t& word, std::uint64_t mask) {
        const auto index = static_cast<std::uint64_t>(&word - bits_.get());
        const std::uint64_t without = index < other.words() ? ~other.load(index) : all_ones;
        total += ones_in(atomic(word).load(std::memory_order_acquire) & mask & without);
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
}

void PageBitmap::move_into(PageBitmap& into) {
    for (std::uint64_t index = 0; index < words(); ++index) {
        if (atomic(bits_[index]).load(std::memory_order_relaxed) != 0)
            into.merge_word(index, atomic(bits_[index]).exchange(0, std::memory_order_acq_rel));
    }
}

void PageBitmap::add(const PageBitmap& other) {
    for (std::uint64_t index = 0; index < std::min(words(), other.words()); ++index)
        merge_word(index, other.load(index));
}

void PageBitmap::remove(const PageBitmap& other) {
    for (std::uint64_t index = 0; index < std::min(words(), other.words()); ++index) {
        // Most of both is empty: a write would give the word memory.
        if (const std::uint64_t taken = other.load(index) & load(index); taken != 0)
            atomic(bits_[index]).fetch_and(~taken, std::memory_order_acq_rel);
    }
}

PageRange PageBitmap::next_run(FrameNumber from, PageCount longest) const {
    if (from.value >= size_.value || longest.value == 0)
        return {};
    std::uint64_t index = from.value / bits_per_word;
    std::uint64_t word = load(index) & (all_ones << (from.value % bits_per_word));
    while (word == 0) {
        if (++index == words())
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
