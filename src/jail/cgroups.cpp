#include "jail/cgroups.hpp"

#include "base/host.hpp"
#include "jail/directories.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace aerate::jail {
namespace {

Result<std::string> read_file(int cgroup, const std::string& file) {
    const FileDescriptor fd = host::descriptor(
        [&] { return ::openat(cgroup, file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC); });
    std::array<char, 4096> text{};
    const ssize_t length = fd.valid() ? ::read(fd.get(), text.data(), text.size()) : -1;
    if (length < 0)
        return fail_errno("cannot read {}", file);
    std::string content(text.data(), static_cast<std::size_t>(length));
    while (content.ends_with('\n') || content.ends_with(' '))
        content.pop_back();
    return content;
}

Result<> write_file(int cgroup, const std::string& file, const std::string& value) {
    const FileDescriptor fd = host::descriptor(
        [&] { return ::openat(cgroup, file.c_str(), O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC); });
    if (!fd.valid() && errno == ENOENT)
        return fail("there is no {}: it is spelt otherwise, or this host's controller is not enabled there", file);
    // Cgroup files take what one write(2) says, as a whole.
    if (!fd.valid() || ::write(fd.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
        return fail_errno("cannot write {} to {}", value, file);
    return {};
}

bool has_word(std::string_view words, std::string_view wanted) {
    while (!words.empty()) {
        const auto end = std::min(words.find(' '), words.size());
        if (words.substr(0, end) == wanted)
            return true;
        words.remove_prefix(std::min(end + 1, words.size()));
    }
    return false;
}

/// Has the cgroups below this one use the controllers.
Result<> enable(int cgroup, const std::vector<std::string>& controllers, const std::string& path) {
    if (controllers.empty())
        return {};
    const std::string enabled = TRY(read_file(cgroup, "cgroup.subtree_control"));
    for (const std::string& controller : controllers) {
        if (has_word(enabled, controller))
            continue;
        if (auto written = write_file(cgroup, "cgroup.subtree_control", "+" + controller); !written) {
            if (written.error().system_error == EBUSY)
                return fail("{} has processes of its own, so the controller {} cannot be enabled below it: move them, "
                            "or give another --parent-cgroup",
                            path, controller);
            if (written.error().system_error == EINVAL || written.error().system_error == ENOENT)
                return fail("{} does not have the controller {}; this host may have it by version 1", path, controller);
            return fail_because(std::move(written).error(), "{}: the controller {}", path, controller);
        }
    }
    return {};
}

/// Version 1: what is empty in a new cpuset is taken from the one above.
Result<> inherit_cpuset(int parent, int child) {
    for (const std::string file : {"cpuset.cpus", "cpuset.mems"})
        if (TRY(read_file(child, file)).empty())
            TRY(write_file(child, file, TRY(read_file(parent, file))));
    return {};
}

Result<FileDescriptor> open_mount(const Cgroup& cgroup) {
    return open_operators_directory(cgroup.mount, Missing::refuse);
}

} // namespace

Result<> make(const Cgroup& cgroup) {
    FileDescriptor here = TRY(open_mount(cgroup));
    std::string path = cgroup.mount;
    std::vector<std::string> names = cgroup.parents;
    if (!cgroup.name.empty())
        names.push_back(cgroup.name);
    for (const std::string& name : names) {
        if (auto enabled = enable(here.get(), cgroup.enable, path); !enabled)
            return enabled;
        path += "/" + name;
        // One that an earlier jail has left has its limits, too. One that is in use stays, and is refused below.
        if (name == cgroup.name && &name == &names.back())
            (void)::unlinkat(here.get(), name.c_str(), AT_REMOVEDIR);
        FileDescriptor next =
            TRY(open_below(here.get(), name, path, cgroup.name.empty() ? Missing::refuse : Missing::make));
        if (cgroup.inherits_cpuset)
            TRY(inherit_cpuset(here.get(), next.get()));
        here = std::move(next);
    }
    if (cgroup.name.empty())
        return {};
    if (const std::string inside = TRY(read_file(here.get(), "cgroup.procs")); !inside.empty())
        return fail("the process {} is in {}: the jail runs, or that is not its cgroup",
                    inside.substr(0, inside.find('\n')), path);
    for (const CgroupSetting& setting : cgroup.settings)
        if (auto written = write_file(here.get(), setting.file(), setting.value()); !written)
            return fail_because(std::move(written).error(), "{}", path);
    return {};
}

namespace {

/// Opens a cgroup that was made. ENOENT stays in the error.
Result<FileDescriptor> open_made(const Cgroup& cgroup, bool leaf) {
    FileDescriptor here = TRY(open_mount(cgroup));
    std::string path = cgroup.mount;
    std::vector<std::string> names = cgroup.parents;
    if (leaf && !cgroup.name.empty())
        names.push_back(cgroup.name);
    for (const std::string& name : names) {
        path += "/" + name;
        here = TRY(open_below(here.get(), name, path, Missing::refuse));
    }
    return here;
}

} // namespace

Result<> join(const Cgroup& cgroup) {
    const FileDescriptor here = TRY(open_made(cgroup, true));
    if (auto joined = write_file(here.get(), "cgroup.procs", "0"); !joined) {
        if (joined.error().system_error == EBUSY)
            return fail("{} has controllers enabled for the cgroups below it, and can have no processes of its own",
                        cgroup.path());
        return fail_because(std::move(joined).error(), "{}", cgroup.path());
    }
    return {};
}

Result<> remove(const Cgroup& cgroup) {
    const auto parent = open_made(cgroup, false);
    if (!parent && parent.error().system_error == ENOENT)
        return {};
    if (!parent)
        return std::unexpected(parent.error());
    // One of root's jails may have the same name, and is none of ours.
    if (struct stat status{}; ::fstatat(parent->get(), cgroup.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                              status.st_uid != ::geteuid() && ::geteuid() != 0)
        return {};
    if (::unlinkat(parent->get(), cgroup.name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT)
        return {};
    return fail_errno("cannot remove the cgroup {}", cgroup.path());
}

} // namespace aerate::jail
