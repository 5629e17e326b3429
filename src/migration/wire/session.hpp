// The number of one migration, chosen by the destination and repeated in every frame: a recorded stream, or a socket of
// another migration, is refused.
#pragma once

#include <array>
#include <cstddef>
#include <string>

namespace aerate::migration {

struct Session {
    std::array<std::byte, 16> value{};
    bool operator==(const Session&) const = default;

    [[nodiscard]] static Session random();
    [[nodiscard]] std::string hex() const;
};

} // namespace aerate::migration
