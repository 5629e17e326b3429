// Where the guest will run: on this machine's KVM, or in the testbed when that cannot run stock kernels.
#pragma once

#include "base/error.hpp"
#include "programs/run.hpp"

#include <optional>
#include <string>

namespace aerate {

/// Returns why this machine's KVM cannot be used; nullopt: it can. Fails where the user may not use it: an emulator
/// would hide that.
[[nodiscard]] Result<std::optional<std::string>> reason_for_testbed(TestbedUse);

/// Replaces this process by testbed/run with the same command line; returns only an error. Directories of files that
/// the VM writes are shared with the nested machine; all else is read-only there.
[[nodiscard]] Error run_in_testbed(const RunOptions&);

} // namespace aerate
