#include "programs/commands.hpp"
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

/// The monitor ends a round after 30 seconds; what was hinted until then is given back yet.
constexpr std::chrono::minutes patience{2};

Result<void> sweep(const Options& options) {
    const RunningVm vm = TRY(RunningVm::named(options.name, patience));
    Report::print(TRY(vm.call("PUT", "/aerate/sweep")), options.json, [](const Report& report) {
        fmt::print(
            "gave back {} MiB of {} MiB that the guest hinted, and {} MiB of smaller blocks through the balloon, in "
            "{:.0f} ms; the guest stood still {} times, for {:.2f} ms at most\n",
            report.mib("discarded_bytes"), report.mib("hinted_bytes"), report.mib("small_bytes"),
            report.milliseconds("duration_us"), report.number<unsigned>("batches"),
            report.milliseconds("longest_hold_us"));
        if (report.boolean("cut"))
            fmt::print("the guest did not come to the end in time: there may be more\n");
    });
    return {};
}

} // namespace

void add_sweep(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("sweep", "Give all of a VM's free memory back to the host now");
    auto options = std::make_shared<Options>();
    command.add_option("name", options->name, "name of the VM")->required();
    command.add_flag("--json", options->json, "print the result as JSON");
    command.callback([options, &chosen] { chosen = [options] { return exit_code(sweep(*options)); }; });
}

} // namespace aerate
