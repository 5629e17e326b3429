// The latest of what a console has said, for those who look later. Each reader has a place of its own in it, and one
// that is too slow loses the oldest: nothing waits for a reader.
#pragma once

#include "base/check.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace aerate {

/// Counts the bytes that the console has said before.
struct ConsolePlace {
    std::uint64_t value = 0;
    auto operator<=>(const ConsolePlace&) const = default;
};

class ConsoleRing {
public:
    static constexpr ByteCount capacity{64U << 10};

    void append(std::span<const std::byte> bytes) {
        if (bytes.size() > capacity.value) {
            const std::size_t too_old = bytes.size() - capacity.value;
            // What is there must lie where its place says.
            bytes_.resize(capacity.value);
            end_ += too_old;
            bytes = bytes.subspan(too_old);
        }
        while (!bytes.empty()) {
            const std::size_t at = end_ % capacity.value;
            const std::size_t length = std::min<std::size_t>(bytes.size(), capacity.value - at);
            bytes_.resize(std::max(bytes_.size(), at + length));
            std::ranges::copy(bytes.first(length), bytes_.begin() + static_cast<std::ptrdiff_t>(at));
            end_ += length;
            bytes = bytes.subspan(length);
        }
    }

    /// Returns the place of the oldest byte that is still here.
    [[nodiscard]] ConsolePlace begin() const { return {end_ - std::min<std::uint64_t>(end_, capacity.value)}; }
    [[nodiscard]] ConsolePlace end() const { return {end_}; }
    /// Returns bytes from there on, as many as lie together: none only at the end.
    /// REQUIRES: begin() <= place <= end().
    [[nodiscard]] std::span<const std::byte> from(ConsolePlace place) const {
        CHECK(begin() <= place && place <= end());
        const std::size_t at = place.value % capacity.value;
        return std::span(bytes_).subspan(at, std::min<std::uint64_t>(end_ - place.value, bytes_.size() - at));
    }

private:
    std::vector<std::byte> bytes_; ///< grows to the capacity with what is said
    std::uint64_t end_ = 0;
};

} // namespace aerate
