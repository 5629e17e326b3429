// Tokens of sessions. A token says itself until when it holds, under a key that only this object has: nothing is kept
// of it, so that a guest may ask for as many as it likes, and with the object all its tokens end.
#pragma once

#include "base/error.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace aerate::mmds {

class Tokens {
public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr std::chrono::seconds life_min{1};
    static constexpr std::chrono::seconds life_max{21600};
    static constexpr std::size_t length = 64;

    /// Fails if the host has no randomness for a key.
    [[nodiscard]] static Result<Tokens> create();

    /// Returns a token of `length` characters that a header can carry. REQUIRES: life_min <= life <= life_max.
    [[nodiscard]] Result<std::string> make(std::chrono::seconds life, Time now) const;
    [[nodiscard]] bool valid(std::string_view token, Time now) const;

private:
    using Key = std::array<unsigned char, 32>;
    explicit Tokens(const Key& key)
        : key_(key) {}
    Key key_;
};

} // namespace aerate::mmds
