// Carries out the steps of a jail: see steps.hpp.
#pragma once

#include "base/error.hpp"
#include "jail/steps.hpp"

#include <sys/types.h>

#include <functional>
#include <optional>

namespace aerate::jail {

/// Called before each step, in the process that takes it: for tests, which end it there.
using BeforeStep = std::function<void(Step)>;

/// Turns this process into the jail's, or starts that: then it returns its number, once the program runs. Else returns
/// only if something failed. REQUIRES: this process has one thread, and no descriptor above 2 that it needs.
[[nodiscard]] Result<pid_t> launch(const Request&, const BeforeStep& = {});

/// Removes what is left of a jail that has ended: its cgroup, and everything in its directory that a launcher makes.
/// Returns the directory if other things are in it, which stay.
[[nodiscard]] Result<std::optional<std::string>> remove(const Request&);

} // namespace aerate::jail
