#include "memory/fixed_mapping.hpp"

#include "base/host.hpp"
#include "base/log.hpp"
#include "base/units.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

namespace aerate {
namespace {

/// mincore(2) says ENOMEM where nothing is mapped, and nothing else does.
bool all_mapped(std::span<std::byte> place) {
    std::array<unsigned char, 1024> pages;
    const std::size_t most = pages.size() * page_size.value;
    while (!place.empty()) {
        const auto piece = place.first(std::min(place.size(), most));
        if (::mincore(piece.data(), piece.size(), pages.data()) != 0 && errno == ENOMEM)
            return false;
        place = place.subspan(piece.size());
    }
    return true;
}

bool map_at(std::span<std::byte> place, int protection, int flags, int fd, off_t offset) {
    return host::map(place.data(), place.size(), protection, flags | MAP_FIXED, fd, offset) != MAP_FAILED;
}

} // namespace

FixedMapping map_over(std::span<std::byte> place, int protection, int flags, int fd, off_t offset) {
    if (map_at(place, protection, flags, fd, offset))
        return FixedMapping::made;
    const int why = errno;
    if (all_mapped(place)) {
        errno = why;
        return FixedMapping::refused;
    }
    if (map_at(place, protection, flags, fd, offset))
        return FixedMapping::made;
    if (!map_at(place, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
        log::error("the host unmapped {} bytes of guest memory and cannot map others in their place: {}", place.size(),
                   describe_errno(why));
        std::abort();
    }
    errno = why;
    return FixedMapping::lost;
}

} // namespace aerate
