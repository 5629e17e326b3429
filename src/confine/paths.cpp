#include "confine/paths.hpp"

#include "base/fd.hpp"
#include "base/host.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>

namespace aerate::confine {
namespace {

// Younger than the oldest headers that we build with: linux/include/uapi/linux/landlock.h.
constexpr std::uint64_t may_truncate = std::uint64_t{1} << 14;  // version 3
constexpr std::uint64_t may_ioctl_dev = std::uint64_t{1} << 15; // version 5

constexpr std::uint64_t up_to_version_1 = (std::uint64_t{LANDLOCK_ACCESS_FS_MAKE_SYM} << 1) - 1;

/// What of a file there is to allow, in the version of this kernel.
std::uint64_t known_rights(int version) {
    std::uint64_t rights = up_to_version_1;
    if (version >= 2)
        rights |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3)
        rights |= may_truncate;
    if (version >= 5)
        rights |= may_ioctl_dev;
    return rights;
}

constexpr std::uint64_t rights_of_files = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                          LANDLOCK_ACCESS_FS_READ_FILE | may_truncate | may_ioctl_dev;

std::uint64_t rights_for(Access access) {
    constexpr std::uint64_t reads = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    constexpr std::uint64_t sockets =
        LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE;
    switch (access) {
    case Access::read:
        return reads;
    case Access::write:
        return reads | LANDLOCK_ACCESS_FS_WRITE_FILE | may_truncate | may_ioctl_dev;
    case Access::sockets:
        return sockets;
    case Access::directory: // but for programs and devices
        break;
    }
    return reads | sockets | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
           LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_FIFO |
           LANDLOCK_ACCESS_FS_REFER | may_truncate;
}

Result<> allow(const FileDescriptor& rules, const Place& place, std::uint64_t known) {
    const FileDescriptor there = host::descriptor([&] { return ::open(place.path.c_str(), O_PATH | O_CLOEXEC); });
    if (!there.valid()) // what cannot be reached cannot be opened later either
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? Result<>() : fail_errno("{}", place.path);
    struct stat what{};
    if (::fstat(there.get(), &what) != 0)
        return fail_errno("{}", place.path);
    std::uint64_t rights = rights_for(place.access) & known;
    if (!S_ISDIR(what.st_mode))
        rights &= rights_of_files;
    landlock_path_beneath_attr rule{.allowed_access = rights, .parent_fd = there.get()};
    if (rights != 0 && ::syscall(SYS_landlock_add_rule, rules.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0U) != 0)
        return fail_errno("Landlock does not take {}", place.path);
    return {};
}

} // namespace

int landlock_version() {
    const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0UL, LANDLOCK_CREATE_RULESET_VERSION);
    return version > 0 ? static_cast<int>(version) : 0;
}

Result<> allow_only(const std::vector<Place>& places) {
    const int version = landlock_version();
    if (version == 0)
        return fail("this kernel has no Landlock (it takes Linux 5.13, and \"landlock\" in lsm=)");
    landlock_ruleset_attr handled{};
    handled.handled_access_fs = known_rights(version);
    const FileDescriptor rules = host::descriptor(
        [&] { return static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0U)); });
    if (!rules.valid())
        return fail_errno("Landlock makes no rules");
    for (const Place& place : places)
        TRY(allow(rules, place, handled.handled_access_fs));
    if (::syscall(SYS_landlock_restrict_self, rules.get(), 0U) != 0)
        return fail_errno("Landlock does not confine this thread");
    return {};
}

} // namespace aerate::confine
