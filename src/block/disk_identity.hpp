// Whether a disk is still as it was when its guest was saved: a guest that goes on with a disk which was written since
// destroys what is on it.
#pragma once

#include "base/error.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace aerate {

struct DiskIdentity {
    std::uint64_t device = 0; ///< of the host's file system
    std::uint64_t inode = 0;
    std::uint64_t modified_ns = 0;        ///< since 1970
    std::array<std::uint8_t, 16> edges{}; ///< a digest of the first and the last MiB

    /// Looks at an open image of that many bytes.
    [[nodiscard]] static Result<DiskIdentity> of(int fd, std::uint64_t size);
    /// Returns the text that a snapshot keeps.
    [[nodiscard]] std::string text() const;
    [[nodiscard]] static Result<DiskIdentity> parse(std::string_view);
    bool operator==(const DiskIdentity&) const = default;
};

/// Says what shows that the disk is not as it was saved; nothing if nothing does. A copy has a time of its own, which
/// shows nothing: there the edges decide.
[[nodiscard]] std::optional<std::string> difference(const DiskIdentity& saved, const DiskIdentity& now);

} // namespace aerate
