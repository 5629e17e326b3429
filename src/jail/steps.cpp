#include "jail/steps.hpp"

#include <algorithm>

namespace aerate::jail {
namespace {

bool is_taken(Step step, const Request& request, Caller caller) {
    switch (step) {
    case Step::make_cgroup:
    case Step::join_cgroup:
        return request.uses_cgroup();
    case Step::join_network:
        return request.network == Network::named;
    case Step::unshare_user:
        return caller == Caller::user;
    case Step::start_process:
        return request.forks();
    case Step::leave_session:
        return request.daemonize;
    default:
        return true;
    }
}

} // namespace

std::vector<Step> plan(const Request& request, Caller caller) {
    std::vector<Step> steps;
    for (std::uint8_t number = 0; number <= static_cast<std::uint8_t>(last_step); ++number)
        if (const auto step = static_cast<Step>(number); is_taken(step, request, caller))
            steps.push_back(step);
    return steps;
}

std::string_view describe(Step step) {
    switch (step) {
    case Step::close_descriptors:
        return "close what was inherited";
    case Step::open_program:
        return "use the program";
    case Step::open_directories:
        return "open the jail's directory";
    case Step::clear_leftovers:
        return "clear what an earlier jail has left";
    case Step::copy_program:
        return "copy the program";
    case Step::make_cgroup:
        return "make the jail's cgroup";
    case Step::join_cgroup:
        return "join the jail's cgroup";
    case Step::join_network:
        return "join the network namespace";
    case Step::unshare_user:
        return "have a user namespace";
    case Step::unshare_others:
        return "have namespaces";
    case Step::bind_root:
        return "make a mount of the jail's root";
    case Step::make_devices:
        return "make the jail's devices";
    case Step::enter_root:
        return "enter the jail's root";
    case Step::set_limits:
        return "set resource limits";
    case Step::give_away:
        return "give the jail to its user";
    case Step::start_process:
        return "start the jail's process";
    case Step::leave_session:
        return "leave the session";
    case Step::drop_privileges:
        return "drop privileges";
    case Step::execute:
        return "execute the program";
    }
    return "go on";
}

} // namespace aerate::jail
