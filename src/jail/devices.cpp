#include "jail/devices.hpp"

#include "base/host.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>

namespace aerate::jail {
namespace {

Result<> check_is_device(int fd, const Device& device) {
    struct stat status{};
    if (::fstatat(fd, "", &status, AT_EMPTY_PATH) != 0)
        return fail_errno("cannot look at {}", device.path());
    if (!S_ISCHR(status.st_mode) || status.st_rdev != device.number)
        return fail("{} is not the device {}:{}", device.path(), major(device.number), minor(device.number));
    return {};
}

} // namespace

std::vector<Device> devices() {
    std::vector<Device> all{{"", "kvm", makedev(10, 232), true},
                            {"net", "tun", makedev(10, 200), false},
                            {"", "urandom", makedev(1, 9), false}};
    // Its number is the kernel's choice (MISC_DYNAMIC_MINOR).
    if (struct stat status{}; ::stat("/dev/userfaultfd", &status) == 0 && S_ISCHR(status.st_mode))
        all.push_back({"", "userfaultfd", status.st_rdev, false});
    return all;
}

Result<FileDescriptor> make_node(const Device& device, int directory) {
    if (::mknodat(directory, device.name.c_str(), S_IFCHR | S_IRUSR | S_IWUSR, device.number) != 0)
        return fail_errno("cannot make {} in the jail", device.path());
    FileDescriptor node =
        host::descriptor([&] { return ::openat(directory, device.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC); });
    if (!node.valid())
        return fail_errno("cannot open {} in the jail", device.path());
    TRY(check_is_device(node.get(), device));
    return node;
}

Result<> bind_node(const Device& device, int directory) {
    if (::access(device.path().c_str(), R_OK | W_OK) != 0) {
        if (!device.required)
            return {};
        return fail_errno("this user may not open {}, and so nothing in the jail may (Debian: adduser USER kvm)",
                          device.path());
    }
    const FileDescriptor place = host::descriptor(
        [&] { return ::openat(directory, device.name.c_str(), O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600); });
    if (!place.valid())
        return fail_errno("cannot make {} in the jail", device.path());
    const FileDescriptor node = host::descriptor(
        [&] { return ::open_tree(AT_FDCWD, device.path().c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC); });
    if (!node.valid())
        return fail_errno("cannot have a mount of {}", device.path());
    TRY(check_is_device(node.get(), device));
    if (::move_mount(node.get(), "", place.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
        return fail_errno("cannot mount {} in the jail", device.path());
    return {};
}

} // namespace aerate::jail
