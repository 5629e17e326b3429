// What guest memory asks the kernel for, by whichever thread.
#pragma once

#include "confine/calls.hpp"
#include "confine/thread_kind.hpp"

#include <linux/kvm.h>

#include <array>

namespace aerate {

/// Discards, page tables, copies of what a file has, a fault handler's pages.
inline constexpr auto memory_calls = std::to_array<confine::Rule>({
    {SYS_process_madvise},
    {SYS_mincore},
    {SYS_fallocate},
    {SYS_pread64},
    {SYS_ioctl, confine::requests_of('f')},  // PAGEMAP_SCAN
    {SYS_ioctl, confine::requests_of(0xaa)}, // userfaultfd
    {SYS_fcntl},
});

/// What those do that ask a DirtySource which pages the guest has written: they do not know it, but that is KVM.
inline constexpr auto dirty_log_calls = std::to_array<confine::Rule>({
    {SYS_ioctl, confine::request(KVM_GET_DIRTY_LOG)},
    {SYS_ioctl, confine::request(KVM_CLEAR_DIRTY_LOG)},
    {SYS_ioctl, confine::request(KVM_RESET_DIRTY_RINGS)},
    {SYS_ioctl, confine::request(KVM_SET_USER_MEMORY_REGION)},
});

/// What makes the memory of a guest that comes from elsewhere.
inline constexpr auto memory_making_calls = std::to_array<confine::Rule>({
    {SYS_userfaultfd},
    {SYS_pidfd_open},
    {SYS_prlimit64, confine::argument_is(0, 0)}, // its own limit for files, of which a memfd is one
    {SYS_memfd_create},
    {SYS_ftruncate},
});

inline constexpr auto fault_handler_calls = std::to_array<confine::Rule>({
    {SYS_poll}, {SYS_ppoll}, {SYS_ioctl, confine::requests_of(0xaa)}, // UFFDIO_WAKE
});
/// Waits for the end of the process that supplies pages, and lets those go who wait for them.
inline constexpr confine::ThreadKind fault_handler_thread{
    .name = "fault-handler", .calls = {fault_handler_calls, confine::every_thread}, .starts = {}};

} // namespace aerate
