// Which cgroup hierarchies the host has, and which cgroups a jail gets in them: decided without touching any.
#pragma once

#include "jail/request.hpp"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::jail {

struct Hierarchies {
    std::string unified{};                                ///< where version 2 is mounted; empty: nowhere
    std::map<std::string, std::string, std::less<>> v1{}; ///< mount points by controller

    /// Reads what /proc/self/mountinfo says.
    [[nodiscard]] static Hierarchies parse(std::string_view mountinfo);
    [[nodiscard]] static Result<Hierarchies> of_this_host();
    /// Returns 2 where no controller is mounted by version 1.
    [[nodiscard]] CgroupVersion usual_version() const { return v1.empty() ? CgroupVersion::v2 : CgroupVersion::v1; }
};

/// The jail's cgroup in one hierarchy.
struct Cgroup {
    std::string mount;
    CgroupVersion version = CgroupVersion::v2;
    std::vector<std::string> parents{}; ///< made where they are missing
    std::string name{};                 ///< below them; empty: the last parent itself is joined, and has to be there
    std::vector<std::string> enable{};  ///< controllers, by version 2
    std::vector<CgroupSetting> settings{};
    bool inherits_cpuset = false; ///< a new one of version 1 has no processors, and nobody can join it

    [[nodiscard]] std::string path() const;
};

/// Fails if a controller is in no hierarchy of that version.
[[nodiscard]] Result<std::vector<Cgroup>> cgroups_of(const Request&, const Hierarchies&);
/// Returns wherever the jail may have had one.
[[nodiscard]] std::vector<Cgroup> possible_cgroups(const Request&, const Hierarchies&);

} // namespace aerate::jail
