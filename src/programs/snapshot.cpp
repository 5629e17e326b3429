#include "programs/commands.hpp"
#include "programs/flags.hpp"
#include "programs/output.hpp"
#include "programs/report.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <filesystem>
#include <memory>

namespace aerate {
namespace {

struct Options {
    std::string name;
    control::TakeSnapshot take;
    bool json = false;
};

/// A snapshot takes as long as the disk needs for the guest's memory.
constexpr std::chrono::hours patience{1};

Result<void> snapshot(const RunningVm& vm, const Options& options) {
    const control::SnapshotStatus taken = TRY(vm.send(options.take));
    if (options.json) {
        print_json(taken);
        return {};
    }
    print("wrote {} MiB to {} in {:.0f} ms", mib(taken.data), options.take.path, milliseconds(taken.duration));
    if (options.take.diff)
        print(", a diff of {}", taken.parent);
    if (!options.take.stop)
        print("; the guest was stopped for {:.0f} ms", milliseconds(taken.hold));
    if (options.take.sweep)
        print("; left out {} MiB that it said is free", mib(taken.omitted));
    print("\n");
    return {};
}

int snapshot(const Options& options) {
    const auto vm = RunningVm::first_of(options.name, std::filesystem::path(options.take.path).filename(), patience);
    return vm ? exit_code(snapshot(*vm, options)) : wrong_usage(vm.error());
}

} // namespace

void add_snapshot(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("snapshot", "Save a running VM to a file");
    auto options = std::make_shared<Options>();
    command.add_option("name", options->name, "name of the VM")->required();
    add_path(command, "file", options->take.path, "where to; it appears when it is complete")->required();
    command.add_flag(
        "--diff", options->take.diff,
        "save only what has changed since the VM's last snapshot, which must be kept, or since its restore");
    command.add_flag("--track-dirty", options->take.track_dirty_pages,
                     "keep track of changes from here on, so that diffs can follow");
    command.add_flag("--sweep", options->take.sweep,
                     "give the guest's free memory back first; what it frees meanwhile is left out too");
    command.add_flag("--force", options->take.replace, "replace a snapshot that is there already");
    command.add_flag("--stop", options->take.stop, "end the VM: a restore continues it");
    add_path(command, "--key", options->take.key_path, "seal it with the 32 secret bytes in this file");
    command.add_flag("--json", options->json, "print the result as JSON");
    command.callback([options, &chosen] { chosen = [options] { return snapshot(*options); }; });
}

} // namespace aerate
