#include "host/cgroups.hpp"

#include "base/host.hpp"
#include "host/proc_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <sys/stat.h>
#include <sys/xattr.h>

namespace aerate::hostd {
namespace {

Result<void> put(const std::string& path, const std::string& text) {
    const FileDescriptor file = host::descriptor([&] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC); });
    if (!file.valid() || ::write(file.get(), text.data(), text.size()) < 0)
        return fail_errno("cannot write {}", path);
    return {};
}

/// Returns the daemon's own cgroup in the unified hierarchy: the line "0::/PATH" of /proc/self/cgroup.
Result<std::string> own_cgroup() {
    const std::string text = TRY(read_file("/proc/self/cgroup"));
    const auto line = text.starts_with("0::") ? 0 : text.find("\n0::");
    if (line == std::string::npos)
        return fail("the host has cgroups of version 1");
    const auto begin = text.find("0::", line) + 3;
    return "/sys/fs/cgroup" + text.substr(begin, text.find('\n', begin) - begin);
}

/// Returns whether systemd has delegated it (Delegate=): it says so by an attribute.
bool is_delegated(const std::string& cgroup) {
    char value = 0;
    return ::getxattr(cgroup.c_str(), "user.delegate", &value, 1) == 1 && value == '1';
}

/// Returns the cgroup below which those of VMs are made. One that has processes passes no controllers on, so the daemon
/// leaves its own for one beside the VMs'.
Result<std::string> own_subtree(std::string_view advice) {
    constexpr std::string_view leaf = "/daemon";
    std::string own = TRY(own_cgroup());
    if (own.ends_with(leaf))
        own.resize(own.size() - leaf.size());
    if (!is_delegated(own))
        return fail("the daemon has no subtree of cgroups of its own{}", advice);
    const std::string place = own + std::string(leaf);
    if (::mkdir(place.c_str(), 0755) != 0 && errno != EEXIST)
        return fail_errno("cannot make the cgroup {}", place);
    TRY(put(place + "/cgroup.procs", "0"));
    return own;
}

} // namespace

VmCgroup::~VmCgroup() {
    if (path_.empty())
        return;
    brake(false, {});
    ::rmdir(path_.c_str()); // refused while the monitor is in it, which then keeps it
}

void VmCgroup::protect(ByteCount floor) {
    if (floor_ != floor && put(path_ + "/memory.low", fmt::to_string(floor.value)))
        floor_ = floor;
}

void VmCgroup::brake(bool on, ByteCount resident) {
    if (on != braked_ && put(path_ + "/memory.high", on ? fmt::to_string(resident.value) : "max"))
        braked_ = on;
}

std::optional<Pressure> VmCgroup::pressure() const {
    const auto text = read_file(path_ + "/memory.pressure");
    const auto pressure = text ? read_pressure(*text) : std::unexpected(text.error());
    return pressure ? std::optional(*pressure) : std::nullopt;
}

Result<Cgroups> Cgroups::below(const std::string& parent) {
    constexpr std::string_view advice = "; run it with Delegate=memory (aerate-host.service), or name a cgroup that it "
                                        "may write in the configuration's cgroup_parent";
    std::string directory = parent.empty() ? TRY(own_subtree(advice)) : parent;
    const auto controllers = read_file(directory + "/cgroup.controllers");
    if (!controllers)
        return fail("{} is no cgroup of version 2{}", directory, advice);
    if (controllers->find("memory") == std::string::npos)
        return fail("{} does not have the memory controller{}", directory, advice);
    if (const auto on = put(directory + "/cgroup.subtree_control", "+memory"); !on)
        return fail("{}{}", on.error().message, advice);
    return Cgroups(std::move(directory));
}

Result<VmCgroup> Cgroups::adopt(const std::string& name, int pid) const {
    std::string path = fmt::format("{}/vm-{}", parent_, name);
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST)
        return fail_errno("cannot make the cgroup {}", path);
    VmCgroup cgroup(std::move(path));
    TRY(put(cgroup.path() + "/cgroup.procs", fmt::to_string(pid)));
    return cgroup;
}

} // namespace aerate::hostd
