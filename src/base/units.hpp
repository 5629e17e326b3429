// Strong types for quantities. A page is 4096 bytes throughout, balloon PFNs included (virtio 1.2, 5.5.6: PFN units do
// not depend on the guest's page size).
#pragma once

#include <compare>
#include <cstdint>

namespace aerate {

struct ByteCount {
    std::uint64_t value{};
    auto operator<=>(const ByteCount&) const = default;
    constexpr ByteCount& operator+=(ByteCount other) {
        value += other.value;
        return *this;
    }
    constexpr ByteCount& operator-=(ByteCount other) {
        value -= other.value;
        return *this;
    }
};

struct PageCount {
    std::uint64_t value{};
    auto operator<=>(const PageCount&) const = default;
    constexpr PageCount& operator+=(PageCount other) {
        value += other.value;
        return *this;
    }
    constexpr PageCount& operator-=(PageCount other) {
        value -= other.value;
        return *this;
    }
};

constexpr ByteCount operator+(ByteCount a, ByteCount b) {
    return {a.value + b.value};
}
constexpr ByteCount operator-(ByteCount a, ByteCount b) {
    return {a.value - b.value};
}
constexpr PageCount operator+(PageCount a, PageCount b) {
    return {a.value + b.value};
}
constexpr PageCount operator-(PageCount a, PageCount b) {
    return {a.value - b.value};
}

inline constexpr unsigned page_shift = 12;
inline constexpr ByteCount page_size{1U << page_shift};

[[nodiscard]] constexpr ByteCount bytes_of(PageCount pages) {
    return {pages.value << page_shift};
}
/// Returns whole pages only: a remainder is dropped.
[[nodiscard]] constexpr PageCount whole_pages_of(ByteCount bytes) {
    return {bytes.value >> page_shift};
}
/// Returns enough pages to hold `bytes`.
[[nodiscard]] constexpr PageCount pages_covering(ByteCount bytes) {
    return {(bytes.value >> page_shift) + ((bytes.value & (page_size.value - 1)) != 0 ? 1U : 0U)};
}

namespace literals {
constexpr ByteCount operator""_KiB(unsigned long long n) {
    return {n << 10};
}
constexpr ByteCount operator""_MiB(unsigned long long n) {
    return {n << 20};
}
constexpr ByteCount operator""_GiB(unsigned long long n) {
    return {n << 30};
}
constexpr PageCount operator""_pages(unsigned long long n) {
    return {n};
}
} // namespace literals

} // namespace aerate
