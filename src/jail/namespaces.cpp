#include "jail/namespaces.hpp"

#include "base/host.hpp"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <sys/mount.h>
#include <sys/syscall.h>

#include <cerrno>

namespace aerate::jail {
namespace {

/// The number by which a namespace of users shows everybody whom it does not have: linux/kernel/sys.c.
constexpr uid_t everybody_else = 65534;

Result<> write_own(const char* file, const std::string& text) {
    const FileDescriptor fd = host::descriptor([&] { return ::open(file, O_WRONLY | O_CLOEXEC); });
    if (!fd.valid() || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        return fail_errno("cannot write {}", file);
    return {};
}

} // namespace

Result<> join_network(const std::string& path) {
    // Not O_PATH, which setns(2) does not take; and a FIFO would wait for its writer.
    const FileDescriptor fd =
        host::descriptor([&] { return ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC); });
    if (!fd.valid())
        return fail_errno("cannot open {}", path);
    if (::setns(fd.get(), CLONE_NEWNET) == 0)
        return {};
    if (errno == EINVAL)
        return fail("{} is no network namespace; \"ip netns add NAME\" makes /run/netns/NAME", path);
    if (errno == EPERM && ::geteuid() != 0)
        return fail("{}: only root may join it; without root start this command in there", path);
    return fail_errno("cannot join {}", path);
}

Result<> unshare_user() {
    const uid_t user = ::geteuid();
    // A monitor there would take every other user who calls its API for its own.
    if (user == everybody_else)
        return fail("the user {} stands for everybody else in one; use another user", user);
    const gid_t group = ::getegid();
    if (::unshare(CLONE_NEWUSER) != 0)
        return fail_errno(
            "this host lets its users have none (sysctl user.max_user_namespaces, "
            "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns), so it takes "
            "root");
    TRY(write_own("/proc/self/setgroups", "deny")); // else no group may be mapped: user_namespaces(7)
    TRY(write_own("/proc/self/uid_map", fmt::format("{} {} 1", user, user)));
    return write_own("/proc/self/gid_map", fmt::format("{} {} 1", group, group));
}

Result<FileDescriptor> unshare_others(Network network, int directory) {
    // What is open stays in the old namespace's mounts; the working directory goes along (copy_mnt_ns()).
    if (::fchdir(directory) != 0)
        return fail_errno("cannot go to the jail's root");
    const int its_own = network == Network::its_own ? CLONE_NEWNET : 0;
    if (::unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | its_own) != 0)
        return fail_errno("this kernel refuses them");
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
        return fail_errno("cannot make mounts private");
    FileDescriptor again = host::descriptor([] { return ::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (!again.valid())
        return fail_errno("cannot open the jail's root again");
    return again;
}

Result<FileDescriptor> bind_over_itself(int directory, bool devices) {
    FileDescriptor mount = host::descriptor(
        [&] { return ::open_tree(directory, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC); });
    if (!mount.valid())
        return fail_errno("cannot have a mount of it");
    mount_attr attributes{.attr_set = MOUNT_ATTR_NOSUID,
                          .attr_clr = devices ? std::uint64_t{MOUNT_ATTR_NODEV} : 0,
                          .propagation = 0,
                          .userns_fd = 0};
    if (::mount_setattr(mount.get(), "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) != 0)
        return fail_errno("cannot have set-user-ID programs ignored there");
    if (::move_mount(mount.get(), "", directory, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
        return fail_errno("cannot mount it");
    return mount;
}

Result<> enter_root(int mount) {
    // Old and new root in one place, so that no directory is made for the old one, which a kill would leave behind:
    // pivot_root(2).
    if (::fchdir(mount) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0)
        return fail_errno("cannot change the root");
    if (::umount2(".", MNT_DETACH) != 0)
        return fail_errno("cannot let go of the host's root");
    return ::chdir("/") == 0 ? Result<>() : fail_errno("cannot go to the root");
}

} // namespace aerate::jail
