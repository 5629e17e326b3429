#include "daemon/guest_limits.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>

namespace aerate {
namespace {

/// The daemon's own descriptors, and one for each guest that is gone and can come back.
constexpr std::size_t own_descriptors = 64 + 256;
constexpr std::size_t own_mappings = 1000;

std::size_t fitting(std::size_t room, std::size_t own, std::size_t per_guest) {
    return room > own ? (room - own) / per_guest : 0;
}

Result<> raise_descriptors_to(std::size_t needed, std::size_t guests) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return fail_errno("cannot read the limit on file descriptors");
    if (limit.rlim_cur >= needed)
        return {};
    const rlimit raised{.rlim_cur = needed, .rlim_max = std::max<rlim_t>(limit.rlim_max, needed)};
    if (::setrlimit(RLIMIT_NOFILE, &raised) != 0)
        return fail(
            "{} guests may need {} file descriptors, and this process may have {}: raise its limit (LimitNOFILE= "
            "of its service, ulimit -Hn), or give --max-guests {} or less",
            guests, needed, limit.rlim_max, fitting(limit.rlim_max, own_descriptors, descriptors_per_guest));
    return {};
}

} // namespace

Result<> make_room_for_guests(std::size_t guests) {
    TRY(raise_descriptors_to(own_descriptors + guests * descriptors_per_guest, guests));
    const std::size_t mappings = own_mappings + guests * mappings_per_guest;
    std::size_t most = 0;
    if (std::ifstream("/proc/sys/vm/max_map_count") >> most && most < mappings)
        return fail("{} guests may need {} memory mappings, and a process may have {}: raise the sysctl "
                    "vm.max_map_count, or give --max-guests {} or less",
                    guests, mappings, most, fitting(most, own_mappings, mappings_per_guest));
    return {};
}

} // namespace aerate
