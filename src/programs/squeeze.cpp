#include "control/size.hpp"
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
    std::string keep = "64M";
    bool json = false;
};

/// A large guest writes its cache back first.
constexpr std::chrono::hours patience{1};

Result<void> squeeze(const Options& options) {
    const RunningVm vm = TRY(RunningVm::named(options.name, patience));
    const nlohmann::json request{{"keep_mib", control::parse_size(options.keep)->value >> 20}};
    const std::string answer = TRY(vm.call("PUT", "/aerate/squeeze", request.dump()));
    Report::print(answer, options.json, [](const Report& report) {
        const std::string reason = report.text("stopped_by");
        fmt::print("resident {} MiB, before {} MiB; the balloon took {} MiB and let go, in {:.1f} s{}{}\n",
                   report.mib("resident_after_bytes"), report.mib("resident_before_bytes"), report.mib("taken_bytes"),
                   report.milliseconds("duration_us") / 1000, reason.empty() ? "" : "; it stopped because ", reason);
    });
    return {};
}

} // namespace

void add_squeeze(CLI::App& app, Command& chosen) {
    CLI::App& command =
        *app.add_subcommand("squeeze", "Push a VM's page cache out and give that back too; the VM keeps its size");
    auto options = std::make_shared<Options>();
    command.add_option("name", options->name, "name of the VM")->required();
    command.add_option("--keep", options->keep, "what the guest shall still be able to use")
        ->option_text("SIZE")
        ->check(check_size)
        ->capture_default_str();
    command.add_flag("--json", options->json, "print the result as JSON");
    command.callback([options, &chosen] { chosen = [options] { return exit_code(squeeze(*options)); }; });
}

} // namespace aerate
