// A seccomp filter: what the kernel runs at each system call of a thread.
//
// Written by hand, as classic BPF, and not by libseccomp: that knows the calls of Linux 5.17 (2.5.4, Debian 12), takes
// longer to compile one filter than all of these take, and the whole of it is what compile() below does in sixty lines.
#pragma once

#include "base/error.hpp"
#include "confine/thread_kind.hpp"

#include <linux/filter.h>

#include <vector>

namespace aerate::confine {

/// Compiles what a kind of thread may do. What is not allowed and has no error of its own raises SIGSYS, which
/// say_refused_calls() has a message for. Calls by another architecture's table, x32's included, end the process.
[[nodiscard]] std::vector<sock_filter> compile(const ThreadKind&);

/// Installs it for the calling thread, and for those that it starts.
/// REQUIRES: no_new_privs is set.
[[nodiscard]] Result<> install(const std::vector<sock_filter>&);

/// Returns whether this kernel has filters, with everything that compile() uses; says why not.
[[nodiscard]] Result<> filters_are_there();

/// Has SIGSYS name the call and the thread on standard error, and end the process by that signal.
[[nodiscard]] Result<> say_refused_calls();

} // namespace aerate::confine
