#include "programs/commands.hpp"
#include "programs/flags.hpp"
#include "programs/output.hpp"
#include "programs/report.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <memory>

namespace aerate {
namespace {

struct Options {
    std::string name;
    bool json = false;
};

/// The monitor ends a round after 30 seconds; what was hinted until then is still given back.
constexpr std::chrono::minutes patience{2};

Result<void> sweep(const Options& options) {
    const RunningVm vm = TRY(RunningVm::named(options.name, patience));
    const control::SweepStatus swept = TRY(vm.send(control::Sweep{}));
    if (options.json) {
        print_json(swept);
        return {};
    }
    if (swept.hinted.value == 0 && swept.small.value == 0) {
        print("resident {} MiB, before {} MiB, in {:.0f} ms; the guest hinted nothing: what was free it has reported\n",
              mib(swept.resident_after), mib(swept.resident_before), milliseconds(swept.duration));
        return {};
    }
    print("resident {} MiB, before {} MiB; the guest hinted {} MiB, and {} MiB of smaller blocks went through the "
          "balloon, in {:.0f} ms; the guest was stopped {} times, for {:.2f} ms at most\n",
          mib(swept.resident_after), mib(swept.resident_before), mib(swept.hinted), mib(swept.small),
          milliseconds(swept.duration), swept.batches, milliseconds(swept.longest_hold));
    if (swept.cut)
        print("the guest did not finish in time: there may be more\n");
    return {};
}

} // namespace

void add_sweep(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("sweep", "Give all of a VM's free memory back to the host now");
    auto options = std::make_shared<Options>();
    add_vm_name(command, options->name);
    command.add_flag("--json", options->json, "print the result as JSON");
    command.callback([options, &chosen] { chosen = [options] { return exit_code(sweep(*options)); }; });
}

} // namespace aerate
