// The number of one migration, chosen by the destination and repeated in every frame: a recorded stream, or a socket of
// another migration, is refused.
#pragma once

#include "base/error.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace aerate::migration {

struct Session {
    std::array<std::byte, 16> value{};
    bool operator==(const Session&) const = default;

    [[nodiscard]] static Session random();
    [[nodiscard]] std::string hex() const;
    /// Reads what hex() has written.
    [[nodiscard]] static Result<Session> parse(std::string_view hex);
};

} // namespace aerate::migration
