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
    control::Squeeze squeeze{.keep = ByteCount{64U << 20}};
    bool json = false;
};

/// A large guest writes its cache back first.
constexpr std::chrono::hours patience{1};

Result<void> squeeze(const Options& options) {
    const RunningVm vm = TRY(RunningVm::named(options.name, patience));
    const control::SqueezeStatus done = TRY(vm.send(options.squeeze));
    if (options.json)
        print_json(done);
    else
        print("resident {} MiB, before {} MiB; the balloon took {} MiB and let go, in {:.1f} s{}{}\n",
              mib(done.resident_after), mib(done.resident_before), mib(done.taken), milliseconds(done.duration) / 1000,
              done.stopped_by.empty() ? "" : "; it stopped because ", done.stopped_by);
    return {};
}

} // namespace

void add_squeeze(CLI::App& app, Command& chosen) {
    CLI::App& command =
        *app.add_subcommand("squeeze", "Push a VM's page cache out and give that back too; the VM keeps its size");
    auto options = std::make_shared<Options>();
    add_vm_name(command, options->name);
    add_size(command, "--keep", options->squeeze.keep, "what the guest can still use afterwards (default: 64M)");
    command.add_flag("--json", options->json, "print the result as JSON");
    command.callback([options, &chosen] { chosen = [options] { return exit_code(squeeze(*options)); }; });
}

} // namespace aerate
