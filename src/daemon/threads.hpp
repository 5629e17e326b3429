// The threads of `aerate vhost-user`, and what each may ask the kernel for.
#pragma once

#include "confine/calls.hpp"
#include "confine/thread_kind.hpp"
#include "memory/system_calls.hpp"

#include <fcntl.h>

#include <array>

namespace aerate {

/// Signals that are sent without blocking, and files of /proc that say what a front-end's memory is.
inline constexpr auto guest_calls = std::to_array<confine::Rule>({
    {SYS_preadv2},  // a kick, without blocking
    {SYS_readlink}, // of /proc/self/fd
    {SYS_io_submit},
    {SYS_io_getevents},
    {SYS_io_setup},
    {SYS_openat, confine::lacks(2, O_ACCMODE | O_CREAT | O_TRUNC)},
    {SYS_fstatfs},
    {SYS_statfs},
    {SYS_memfd_create},
    {SYS_ftruncate},
    {SYS_pidfd_open},
});
inline constexpr confine::ThreadKind vhost_user_guest_thread{
    .name = "guest",
    .calls = {confine::event_loop, confine::connected_sockets, memory_calls, guest_calls, confine::every_thread},
    .starts = {}};

inline constexpr auto daemon_calls = std::to_array<confine::Rule>({
    {SYS_pidfd_open},
    {SYS_signalfd4},
    {SYS_prlimit64, confine::argument_is(0, 0)}, // its own
    {SYS_prctl, confine::argument_is(0, PR_GET_SECCOMP)},
    {SYS_prctl, confine::argument_is(0, PR_CAPBSET_READ)},
});
inline constexpr std::array<const confine::ThreadKind*, 1> threads_of_daemon{&vhost_user_guest_thread};
inline constexpr confine::ThreadKind vhost_user_thread{
    .name = "vhost-user",
    .calls = {confine::event_loop, confine::files, confine::local_sockets, confine::connected_sockets, daemon_calls,
              confine::thread_starts, confine::every_thread},
    .starts = threads_of_daemon};

} // namespace aerate
