// Groups of calls that several kinds of threads make. What one subsystem alone does is in that subsystem.
//
// Numbers that the oldest headers we build with lack are named here.
#pragma once

#include "confine/thread_kind.hpp"

#include <fcntl.h>
#include <sched.h>

#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>

namespace aerate::confine {

/// What the C and C++ libraries do in any thread: memory without code in it, locks, time, signals of its own process,
/// messages; and to begin and end. What is refused with an error they can do without.
inline constexpr auto every_thread = std::to_array<Rule>({
    {SYS_epoll_ctl}, // who posts to a loop wakes it so: Boost.Asio, epoll_reactor::interrupt()
    {SYS_futex},
    {SYS_read},
    {SYS_write},
    {SYS_clock_gettime},
    {SYS_clock_nanosleep},
    {SYS_madvise},
    {SYS_mmap, lacks(2, PROT_EXEC)},
    {SYS_mprotect, lacks(2, PROT_EXEC)},
    {SYS_munmap},
    {SYS_mremap},
    {SYS_brk},
    {SYS_close},
    {SYS_writev},
    {SYS_lseek},
    {SYS_fstat},
    {SYS_newfstatat},
    {SYS_ioctl, request(TCGETS)},
    {SYS_ioctl, request(TIOCGWINSZ)},
    {SYS_sched_yield},
    {SYS_sched_getaffinity},
    {SYS_getcpu},
    {SYS_getpid},
    {SYS_gettid},
    {SYS_getuid},
    {SYS_geteuid},
    {SYS_getgid},
    {SYS_getegid},
    {SYS_tgkill, {.argument = 0, .mask = 0xffffffff, .own_process = true}},
    {SYS_rt_sigaction},
    {SYS_rt_sigprocmask},
    {SYS_rt_sigreturn},
    {SYS_sigaltstack},
    {SYS_restart_syscall},
    {SYS_nanosleep},
    {SYS_gettimeofday},
    {SYS_time},
    {SYS_clock_getres},
    {SYS_getrandom},
    {SYS_getrusage},
    {SYS_sysinfo},
    {SYS_uname},
    {SYS_membarrier},
    {SYS_rseq},
    {SYS_set_robust_list},
    {SYS_prctl, argument_is(0, PR_SET_NAME)},
    {SYS_prctl, argument_is(0, PR_GET_NAME)},
    {SYS_prctl, argument_is(0, PR_GET_DUMPABLE)},
    {SYS_exit},
    {SYS_exit_group},
    {.call = SYS_open, .refusal = EACCES},
    {.call = SYS_openat, .refusal = EACCES},
    {.call = SYS_access, .refusal = EACCES},
    {.call = SYS_readlink, .refusal = EACCES},
    {.call = SYS_clone3, .refusal = ENOSYS}, // its flags are in memory; glibc then goes by clone(2)
});

/// What a thread does that starts others: it makes threads and nothing else, in no other namespace, and each takes its
/// own filter.
inline constexpr auto thread_starts = std::to_array<Rule>({
    {SYS_clone,
     {.argument = 0,
      .mask = CLONE_VM | CLONE_THREAD | CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
              CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_PTRACE,
      .value = CLONE_VM | CLONE_THREAD}},
    {SYS_seccomp, argument_is(0, SECCOMP_SET_MODE_FILTER)},
    {SYS_capget},
    {SYS_capset},
    {SYS_prctl, argument_is(0, PR_GET_NO_NEW_PRIVS)},
});

/// What an event loop does, and those who only talk by descriptors that they have.
inline constexpr auto event_loop = std::to_array<Rule>({
    {SYS_epoll_wait},
    {SYS_epoll_pwait},
    {SYS_epoll_ctl},
    {SYS_epoll_create1},
    {SYS_eventfd2},
    {SYS_timerfd_create},
    {SYS_timerfd_settime},
    {SYS_timerfd_gettime},
    {SYS_poll},
    {SYS_ppoll},
    {SYS_readv},
    {SYS_fcntl},
    {SYS_ioctl, request(FIONBIO)},
    {SYS_ioctl, request(FIONREAD)},
});

/// What is done with a socket that is connected.
inline constexpr auto connected_sockets = std::to_array<Rule>({
    {SYS_recvmsg},
    {SYS_sendmsg},
    {SYS_recvfrom},
    {SYS_sendto},
    {SYS_shutdown},
    {SYS_getsockopt},
    {SYS_setsockopt},
    {SYS_getsockname},
    {SYS_getpeername},
});

/// What makes connections within this host.
inline constexpr auto local_sockets = std::to_array<Rule>({
    {SYS_socket, argument_is(0, AF_UNIX)},
    {SYS_socketpair, argument_is(0, AF_UNIX)},
    {SYS_connect},
    {SYS_bind},
    {SYS_listen},
    {SYS_accept},
    {SYS_accept4},
});

/// What makes connections, to other hosts too: TCP.
inline constexpr auto outward_sockets = std::to_array<Rule>({
    {SYS_socket, argument_is(0, AF_UNIX)},
    {SYS_socket, argument_is(0, AF_INET)},
    {SYS_socket, argument_is(0, AF_INET6)},
    {SYS_connect},
});

/// What is done with files, and to open them by name.
inline constexpr auto files = std::to_array<Rule>({
    {SYS_prlimit64, argument_is(0, 0)}, // how long a file may be, for this process
    {SYS_openat},
    {SYS_open},
    {SYS_openat2},
    {SYS_pread64},
    {SYS_pwrite64},
    {SYS_preadv},
    {SYS_pwritev},
    {SYS_preadv2},
    {SYS_pwritev2},
    {SYS_readv},
    {SYS_fcntl},
    {SYS_flock},
    {SYS_fsync},
    {SYS_fdatasync},
    {SYS_syncfs},
    {SYS_sync_file_range},
    {SYS_fadvise64},
    {SYS_ftruncate},
    {SYS_fallocate},
    {SYS_copy_file_range},
    {SYS_sendfile},
    {SYS_stat},
    {SYS_lstat},
    {SYS_statx},
    {SYS_statfs},
    {SYS_fstatfs},
    {SYS_getdents64},
    {SYS_getcwd},
    {SYS_access},
    {SYS_faccessat},
    {SYS_faccessat2},
    {SYS_readlink},
    {SYS_readlinkat},
    {SYS_rename},
    {SYS_renameat},
    {SYS_renameat2},
    {SYS_link},
    {SYS_linkat},
    {SYS_unlink},
    {SYS_unlinkat},
    {SYS_rmdir},
    {SYS_mkdir},
    {SYS_mkdirat},
    {SYS_fchmod},
    {SYS_memfd_create},
    {SYS_dup},
    {SYS_pipe2},
});

} // namespace aerate::confine
