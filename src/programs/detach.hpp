// A command whose VM goes on when the command returns.
#pragma once

#include "base/error.hpp"

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>

namespace aerate {

/// Tells who waits for it that the VM runs. Fails when nobody waits any more: then nobody knows of this VM.
using Started = std::move_only_function<Result<>()>;

/// Carries out `work` in a process of a session of its own, without a terminal; what it logs goes to NAME.log in the
/// runtime directory. Waits until it says that it has started, which this prints as `told` puts it, or ends: then says
/// what its log says. `name` is PREFIX-PID when it is empty. Returns the exit code, in both processes.
/// REQUIRES: this process has one thread.
[[nodiscard]] int run_detached(std::string name, std::string_view prefix, std::move_only_function<int(Started)> work,
                               const std::function<std::string(const std::string& name, pid_t)>& told);

} // namespace aerate
