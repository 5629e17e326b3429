// Privileges that a process or thread gives up for good.
#pragma once

#include "base/error.hpp"

#include <linux/capability.h>

#include <cstdint>
#include <span>

namespace aerate::confine {

/// Keeps these capabilities where they are held, and gives up all others: effective, permitted, inheritable, ambient
/// and of what is executed. For the calling thread, and for those that it starts.
[[nodiscard]] Result<> keep_capabilities(std::span<const unsigned> kept);
/// Has nothing that is executed from now on get a capability by its file. REQUIRES: CAP_SETPCAP, else it fails.
[[nodiscard]] Result<> give_up_bounding_set();
/// Returns whether the calling thread has capabilities, or could get some by executing a program.
[[nodiscard]] bool has_capabilities();

/// What it takes to open what a configuration names, and to start passt: for the time until the guest runs.
inline constexpr unsigned for_opening[] = {
    CAP_CHOWN,      CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER,    CAP_LEASE,
    CAP_SETUID,     CAP_SETGID,       CAP_SETPCAP,         CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, // taps, passt
    CAP_SYS_ADMIN,  CAP_SYS_CHROOT,   // the metadata service's network namespace; passt's own confinement
    CAP_SYS_PTRACE, CAP_SYS_RESOURCE, // userfaultfd; more descriptors than the limit
};

/// Closes every descriptor above 2 but these.
[[nodiscard]] Result<> close_all_but(std::span<const int> kept);

[[nodiscard]] Result<> give_up_new_privileges();
/// No core dumps, which have a guest's memory in them, and no message queues.
[[nodiscard]] Result<> limit_resources();
/// Keeps other processes of this user from our memory, by /proc and ptrace; what /proc has of us is root's then.
[[nodiscard]] Result<> hide_memory();

} // namespace aerate::confine
