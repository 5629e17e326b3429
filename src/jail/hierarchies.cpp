#include "jail/hierarchies.hpp"

#include "base/fd.hpp"
#include "base/host.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace aerate::jail {
namespace {

/// Takes the next word off the text.
std::string_view take_word(std::string_view& text, char end = ' ') {
    const auto length = std::min(text.find(end), text.size());
    const auto word = text.substr(0, length);
    text.remove_prefix(std::min(length + 1, text.size()));
    return word;
}

/// Decodes \040 and the like (linux/fs/proc_namespace.c, mangle()).
std::string unescaped(std::string_view text) {
    std::string plain;
    const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
    for (std::size_t i = 0; i < text.size(); ++i)
        if (text[i] == '\\' && i + 3 < text.size() && std::ranges::all_of(text.substr(i + 1, 3), is_octal)) {
            plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        } else {
            plain += text[i];
        }
    return plain;
}

void add_mount(std::string_view line, Hierarchies& found) {
    const auto separator = line.find(" - ");
    if (separator == std::string_view::npos)
        return;
    std::string_view before = line.substr(0, separator);
    std::string_view after = line.substr(separator + 3);
    for (int i = 0; i < 3; ++i)
        take_word(before); // its number, its parent's, the device's
    const auto root = take_word(before);
    const std::string place = unescaped(take_word(before));
    const auto type = take_word(after);
    take_word(after);
    if (root != "/")
        return; // a part of a hierarchy, mounted a second time
    if (type == "cgroup2" && found.unified.empty())
        found.unified = place;
    if (type != "cgroup")
        return;
    while (!after.empty())
        if (const auto option = take_word(after, ','); option.find('=') == std::string_view::npos && option != "rw" &&
                                                       option != "ro" && option != "xattr" &&
                                                       option != "clone_children")
            found.v1.emplace(option, place);
}

std::vector<std::string> parents_of(const Request& request) {
    return (request.cgroup.parent ? *request.cgroup.parent : CgroupPath::of(request.name)).parts();
}

Result<std::vector<Cgroup>> unified_cgroup(const Request& request, const Hierarchies& there) {
    if (there.unified.empty())
        return fail("no cgroup hierarchy of version 2 is mounted; give --cgroup-version 1, or leave it out");
    Cgroup cgroup{.mount = there.unified, .parents = parents_of(request)};
    for (const CgroupSetting& setting : request.cgroup.settings)
        if (std::string controller(setting.controller());
            std::ranges::find(cgroup.enable, controller) == cgroup.enable.end())
            cgroup.enable.push_back(std::move(controller));
    cgroup.settings = request.cgroup.settings;
    if (!cgroup.settings.empty())
        cgroup.name = request.id.text();
    return std::vector{std::move(cgroup)};
}

Result<std::vector<Cgroup>> separate_cgroups(const Request& request, const Hierarchies& there) {
    if (request.cgroup.settings.empty())
        return fail("--parent-cgroup: by version 1 it takes --cgroup to say in which hierarchies that is");
    std::vector<Cgroup> cgroups;
    for (const CgroupSetting& setting : request.cgroup.settings) {
        const auto mount = there.v1.find(setting.controller());
        if (mount == there.v1.end())
            return fail("--cgroup {}: no hierarchy of version 1 has the controller {}", setting.file(),
                        setting.controller());
        auto same = std::ranges::find(cgroups, mount->second, &Cgroup::mount);
        if (same == cgroups.end())
            same = cgroups.insert(same, {.mount = mount->second,
                                         .version = CgroupVersion::v1,
                                         .parents = parents_of(request),
                                         .name = request.id.text()});
        same->settings.push_back(setting);
        same->inherits_cpuset = same->inherits_cpuset || setting.controller() == "cpuset";
    }
    return cgroups;
}

} // namespace

Hierarchies Hierarchies::parse(std::string_view mountinfo) {
    Hierarchies found;
    while (!mountinfo.empty())
        add_mount(take_word(mountinfo, '\n'), found);
    return found;
}

Result<Hierarchies> Hierarchies::of_this_host() {
    const FileDescriptor file = host::descriptor([] { return ::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC); });
    if (!file.valid())
        return fail_errno("cannot look for cgroup hierarchies in /proc/self/mountinfo");
    std::string text;
    std::array<char, 16384> piece{};
    for (ssize_t length = 0; (length = ::read(file.get(), piece.data(), piece.size())) > 0;)
        text.append(piece.data(), static_cast<std::size_t>(length));
    return parse(text);
}

std::string Cgroup::path() const {
    std::string path = mount;
    for (const std::string& parent : parents)
        path += "/" + parent;
    return name.empty() ? path : path + "/" + name;
}

Result<std::vector<Cgroup>> cgroups_of(const Request& request, const Hierarchies& there) {
    const auto version = request.cgroup.version.value_or(there.usual_version());
    return version == CgroupVersion::v2 ? unified_cgroup(request, there) : separate_cgroups(request, there);
}

std::vector<Cgroup> possible_cgroups(const Request& request, const Hierarchies& there) {
    std::vector<Cgroup> cgroups;
    const auto add = [&](const std::string& mount) {
        if (!mount.empty() && std::ranges::find(cgroups, mount, &Cgroup::mount) == cgroups.end())
            cgroups.push_back({.mount = mount, .parents = parents_of(request), .name = request.id.text()});
    };
    add(there.unified);
    for (const auto& [controller, mount] : there.v1)
        add(mount);
    return cgroups;
}

} // namespace aerate::jail
