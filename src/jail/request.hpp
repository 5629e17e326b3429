// A jail as it was asked for: everything checked that can be without looking at the host.
#pragma once

#include "jail/settings.hpp"

#include <optional>
#include <string>
#include <vector>

namespace aerate::jail {

struct CgroupRequest {
    std::optional<CgroupVersion> version{}; ///< as the host, if none
    std::optional<CgroupPath> parent{};     ///< the program's name, if none
    std::vector<CgroupSetting> settings{};
};

enum class Network : std::uint8_t {
    hosts,
    named,   ///< the namespace of `netns`
    its_own, ///< with nothing in it
};

struct Request {
    Id id;
    ProgramName name;
    std::string program{};                ///< the operator's path; empty: this program
    std::vector<std::string> arguments{}; ///< without the program's own name
    std::uint32_t user = 0;
    std::uint32_t group = 0;
    std::string base = "/srv/jailer";
    Network network = Network::hosts;
    std::string netns{};
    CgroupRequest cgroup{};
    std::vector<ResourceLimit> limits{};
    bool daemonize = false;
    bool new_pid_namespace = false;

    [[nodiscard]] bool forks() const { return daemonize || new_pid_namespace; }
    [[nodiscard]] bool uses_cgroup() const { return !cgroup.settings.empty() || cgroup.parent; }
};

} // namespace aerate::jail
