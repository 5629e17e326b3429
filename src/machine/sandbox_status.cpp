#include "machine/sandbox_status.hpp"

#include "confine/confinement.hpp"

#include <utility>

namespace aerate {

std::optional<control::SandboxStatus> sandbox_status() {
    if (!confine::has_begun())
        return {};
    confine::Holding holds = confine::holding();
    return control::SandboxStatus{.no_new_privileges = holds.no_new_privileges,
                                  .capabilities = holds.capabilities,
                                  .memory_hidden = !holds.dumpable,
                                  .seccomp = holds.filtered,
                                  .landlock = static_cast<unsigned>(holds.landlock),
                                  .lacks = std::move(holds.lacks)};
}

} // namespace aerate
