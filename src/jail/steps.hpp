// How a jail is made: a list of steps, which depends on nothing but the request and whether root makes it. launcher.hpp
// carries them out.
//
// The order is what makes it safe to be killed: what outlives the launcher comes first and is found by the next start
// (a directory, a cgroup), mounts are its own namespace's, and the process is given away last.
#pragma once

#include "jail/request.hpp"

#include <string_view>
#include <vector>

namespace aerate::jail {

enum class Step : std::uint8_t {
    close_descriptors,
    open_program,
    open_directories, ///< and locks the jail's until the program runs
    make_cgroup,      ///< which says whether the jail runs, as the directory does: before anything is cleared
    clear_leftovers,  ///< of a jail that has ended, or of a launcher that was killed
    copy_program,
    join_cgroup,
    join_network,
    unshare_user, ///< without root: its namespace is what allows the rest
    unshare_others,
    bind_root,
    make_devices,
    enter_root,
    give_away, ///< directories and devices, to the jail's user
    start_process,
    leave_session,
    set_limits, ///< which the steps before would run into
    drop_privileges,
    execute,
};
inline constexpr auto last_step = Step::execute;

enum class Caller : std::uint8_t { root, user };

[[nodiscard]] std::vector<Step> plan(const Request&, Caller);
/// Returns what the step does, as "cannot ..." goes on.
[[nodiscard]] std::string_view describe(Step);

} // namespace aerate::jail
