// A set of at most eight pages in a byte: the explorer's PageSet.
#pragma once

#include "memory/guest_address.hpp"
#include "protocol/page_set.hpp"

#include <bit>
#include <cstdint>

namespace aerate::prove {

struct SmallPages {
    static constexpr unsigned capacity = 8;

    std::uint8_t bits = 0;

    bool operator==(const SmallPages&) const = default;

    static constexpr SmallPages only(unsigned page) { return {static_cast<std::uint8_t>(1U << page)}; }
    static constexpr SmallPages first(unsigned count) { return {static_cast<std::uint8_t>((1U << count) - 1)}; }

    void set(PageRange range) { bits |= mask(range); }
    void clear(PageRange range) { bits &= static_cast<std::uint8_t>(~mask(range)); }
    void clear_all() { bits = 0; }
    void add(const SmallPages& other) { bits |= other.bits; }
    void remove(const SmallPages& other) { bits &= static_cast<std::uint8_t>(~other.bits); }
    void move_into(SmallPages& other) {
        other.bits |= bits;
        bits = 0;
    }
    [[nodiscard]] bool test(FrameNumber frame) const {
        return frame.value < capacity && (bits >> frame.value & 1U) != 0;
    }
    [[nodiscard]] PageRange next_run(FrameNumber from, PageCount limit) const {
        if (from.value >= capacity || limit == PageCount{})
            return {};
        const auto rest = static_cast<std::uint8_t>(bits >> from.value << from.value);
        if (rest == 0)
            return {};
        const auto start = static_cast<unsigned>(std::countr_zero(rest));
        const auto count = static_cast<std::uint64_t>(std::countr_one(static_cast<std::uint8_t>(rest >> start)));
        return {{start}, {count < limit.value ? count : limit.value}};
    }

    [[nodiscard]] bool has(unsigned page) const { return (bits >> page & 1U) != 0; }
    [[nodiscard]] bool empty() const { return bits == 0; }
    void insert(unsigned page) { add(only(page)); }
    void erase(unsigned page) { remove(only(page)); }

private:
    static constexpr std::uint8_t mask(PageRange range) {
        unsigned mask = 0;
        for (unsigned page = 0; page < capacity; ++page)
            if (page >= range.first.value && page < range.end().value)
                mask |= 1U << page;
        return static_cast<std::uint8_t>(mask);
    }
};
static_assert(protocol::PageSet<SmallPages>);

constexpr PageRange page_range(unsigned page) {
    return {{page}, {1}};
}

} // namespace aerate::prove
