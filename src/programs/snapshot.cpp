#include "programs/commands.hpp"
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
    std::string path;
    std::string key;
    bool diff = false;
    bool track_dirty = false;
    bool sweep = false;
    bool replace = false;
    bool stop = false;
    bool json = false;
};

/// A snapshot takes as long as the disk needs for the guest's memory.
constexpr std::chrono::hours patience{1};

/// The monitor may have another working directory.
std::string absolute(const std::string& path) {
    return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().string();
}

Result<void> snapshot(const Options& options) {
    const RunningVm vm = TRY(RunningVm::named(options.name, patience));
    const nlohmann::json request{{"snapshot_path", absolute(options.path)},
                                 {"key_path", absolute(options.key)},
                                 {"diff", options.diff},
                                 {"track_dirty_pages", options.track_dirty},
                                 {"sweep", options.sweep},
                                 {"stop", options.stop},
                                 {"replace", options.replace}};
    const std::string answer = TRY(vm.call("PUT", "/aerate/snapshot", request.dump()));
    Report::print(answer, options.json, [&](const Report& report) {
        fmt::print("wrote {} MiB to {} in {:.0f} ms", report.mib("data_bytes"), options.path,
                   report.milliseconds("duration_us"));
        if (options.diff)
            fmt::print(", a diff of {}", report.text("parent"));
        if (!options.stop)
            fmt::print("; the guest stood still for {:.0f} ms", report.milliseconds("hold_us"));
        if (options.sweep)
            fmt::print("; left out {} MiB that it said is free", report.mib("omitted_bytes"));
        fmt::print("\n");
    });
    return {};
}

} // namespace

void add_snapshot(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("snapshot", "Save a running VM to a file");
    auto options = std::make_shared<Options>();
    command.add_option("name", options->name, "name of the VM")->required();
    command.add_option("file", options->path, "where to; it appears when it is complete")->required();
    command.add_flag("--diff", options->diff,
                     "only what has changed since the VM's last snapshot, which stays needed, or since its restore");
    command.add_flag("--track-dirty", options->track_dirty,
                     "keep track of changes from here on, so that diffs can follow");
    command.add_flag("--sweep", options->sweep,
                     "give the guest's free memory back first; what it frees meanwhile is left out too");
    command.add_flag("--force", options->replace, "replace a snapshot that is there already");
    command.add_flag("--stop", options->stop, "end the VM: it goes on when it is restored");
    command.add_option("--key", options->key, "seal it with the 32 secret bytes of this file")->type_name("FILE");
    command.add_flag("--json", options->json, "print the result as JSON");
    command.callback([options, &chosen] { chosen = [options] { return exit_code(snapshot(*options)); }; });
}

} // namespace aerate
