#include "programs/run.hpp"

#include "base/fd.hpp"
#include "base/log.hpp"
#include "programs/commands.hpp"
#include "programs/process.hpp"
#include "programs/testbed.hpp"
#include "programs/vm_process.hpp"

#include <utility>

namespace aerate {

int run_vm(RunOptions options) {
    auto reason = reason_for_testbed(options.testbed);
    if (!reason)
        return report(reason.error());
    if (*reason && options.detach)
        return report({fmt::format("a VM in the testbed ends with its command, so there is no --detach: {}. Run both "
                                   "in a shell of \"testbed/run --tty -- bash\"",
                                   **reason)});
    if (*reason) {
        log::info("running in the testbed: {}", **reason);
        log::info("{} is a VM of that machine, and \"aerate ps\" here does not see it: for a second terminal start a "
                  "shell in there with \"testbed/run --tty -- bash\" and run both from it",
                  options.config.name);
        return report(run_in_testbed(options));
    }
    use_small_stacks();
    auto signals = signals_to_end();
    if (!signals)
        return report(signals.error());
    VmProcess process(std::move(options), *signals);
    if (const auto ran = process.run(); !ran)
        return report(ran.error());
    return process.exit_code();
}

} // namespace aerate
