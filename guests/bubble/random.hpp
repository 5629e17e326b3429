// Numbers that look random and follow from a seed (splitmix64, Steele et al. 2014).
#pragma once

#include <cstdint>

namespace bubble {

class Random {
public:
    explicit Random(std::uint64_t seed)
        : state_(seed) {}

    [[nodiscard]] std::uint64_t next() {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15ULL;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
        return z ^ z >> 31;
    }
    /// REQUIRES: limit > 0.
    [[nodiscard]] std::uint64_t below(std::uint64_t limit) { return next() % limit; }
    [[nodiscard]] std::uint32_t word() { return static_cast<std::uint32_t>(next()); }

private:
    std::uint64_t state_;
};

} // namespace bubble
