// The thread of `aerate host`, and what it may ask the kernel for.
#pragma once

#include "confine/calls.hpp"
#include "confine/thread_kind.hpp"

#include <array>

namespace aerate::hostd {

inline constexpr auto host_calls = std::to_array<confine::Rule>({
    {SYS_prctl, confine::argument_is(0, PR_GET_SECCOMP)},
    {SYS_prctl, confine::argument_is(0, PR_CAPBSET_READ)},
});
inline constexpr confine::ThreadKind host_thread{.name = "host",
                                                 .calls = {confine::event_loop, confine::files, confine::local_sockets,
                                                           confine::connected_sockets, host_calls,
                                                           confine::every_thread},
                                                 .starts = {}};

} // namespace aerate::hostd
