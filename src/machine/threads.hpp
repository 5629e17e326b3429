// The threads of a VM, and what each may ask the kernel for. What a subsystem does is said beside it, in its
// system_calls.hpp; here is who does it.
#pragma once

#include "block/system_calls.hpp"
#include "confine/calls.hpp"
#include "confine/thread_kind.hpp"
#include "etcd/threads.hpp"
#include "kvm/system_calls.hpp"
#include "memory/system_calls.hpp"
#include "migration/threads.hpp"
#include "net/system_calls.hpp"

#include <linux/fs.h>

#include <array>
#include <csignal>

namespace aerate {

inline constexpr confine::ThreadKind vcpu_thread{
    .name = "vcpu", .calls = {run_calls, confine::every_thread}, .starts = {}};

inline constexpr confine::ThreadKind balloon_thread{
    .name = "balloon",
    .calls = {confine::event_loop, memory_calls, dirty_log_calls, confine::every_thread},
    .starts = {}};

inline constexpr confine::ThreadKind net_thread{
    .name = "net",
    .calls = {confine::event_loop, confine::connected_sockets, net_calls, confine::every_thread},
    .starts = {}};

/// A snapshot's thread starts it, and that of a migration.
inline constexpr auto sync_calls = std::to_array<confine::Rule>({{SYS_fdatasync}});
inline constexpr confine::ThreadKind sync_thread{
    .name = "sync", .calls = {sync_calls, confine::every_thread}, .starts = {}};

/// A diff in two files begins as a clone of the memory file that it is merged with.
inline constexpr auto snapshot_calls = std::to_array<confine::Rule>({{SYS_ioctl, confine::request(FICLONE)}});
inline constexpr std::array<const confine::ThreadKind*, 1> threads_of_snapshot{&sync_thread};
inline constexpr confine::ThreadKind snapshot_thread{.name = "snapshot",
                                                     .calls = {confine::event_loop, confine::files, memory_calls,
                                                               dirty_log_calls, snapshot_calls, confine::thread_starts,
                                                               confine::every_thread},
                                                     .starts = threads_of_snapshot};

inline constexpr std::array<const confine::ThreadKind*, 1> threads_of_restore{&fault_handler_thread};
inline constexpr confine::ThreadKind restore_thread{
    .name = "restore",
    .calls = {confine::event_loop, confine::files, memory_calls, confine::local_sockets, confine::connected_sockets,
              memory_making_calls, confine::thread_starts, confine::every_thread},
    .starts = threads_of_restore};

inline constexpr confine::ThreadKind disk_thread{
    .name = "disk", .calls = {confine::files, image_calls, confine::every_thread}, .starts = {}};

inline constexpr confine::ThreadKind prefetch_thread{
    .name = "prefetch", .calls = {memory_calls, confine::every_thread}, .starts = {}};

inline constexpr confine::ThreadKind working_set_thread{
    .name = "working-set", .calls = {memory_calls, confine::files, confine::every_thread}, .starts = {}};

/// What the main loop does besides: machines for guests that reset themselves, disks, the API, programs that it
/// started.
inline constexpr auto main_calls = std::to_array<confine::Rule>({
    {SYS_kill, confine::argument_is(1, SIGTERM)}, // passt, when the VM ends
    {SYS_kill, confine::argument_is(1, SIGCONT)}, // and has it go on, should somebody have stopped it
    {SYS_wait4},
    {SYS_setpriority, confine::argument_is(1, 0)}, // its own
    {SYS_signalfd4},
    {SYS_adjtimex},
    {SYS_clock_adjtime},
    {SYS_prlimit64, confine::argument_is(0, 0)}, // its own
    {SYS_getrlimit},
    {SYS_ioctl, confine::request(TCSETS)},
    {SYS_ioctl, confine::request(TCSETSW)},
    {SYS_ioctl, confine::request(TCSETSF)},
    {SYS_ioctl, confine::request(TIOCGPGRP)},
    {SYS_prctl, confine::argument_is(0, PR_GET_SECCOMP)},
    {SYS_prctl, confine::argument_is(0, PR_CAPBSET_READ)},
    {SYS_umask},
    {SYS_dup2},
    {SYS_dup3},
    {SYS_getppid},
    {SYS_getpgrp},
    {SYS_uname},
});
inline constexpr auto threads_of_main = std::to_array<const confine::ThreadKind*>(
    {&vcpu_thread, &balloon_thread, &net_thread, &snapshot_thread, &restore_thread, &sync_thread, &disk_thread,
     &prefetch_thread, &working_set_thread, &migration::source_thread, &migration::destination_thread,
     &etcd::lease_thread});
inline constexpr confine::ThreadKind main_thread{.name = "main",
                                                 .calls = {confine::event_loop, confine::connected_sockets,
                                                           confine::local_sockets, machine_calls, engine_calls,
                                                           main_calls, confine::thread_starts, confine::every_thread},
                                                 .starts = threads_of_main};

} // namespace aerate
