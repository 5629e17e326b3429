#include "programs/commands.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <chrono>
#include <filesystem>
#include <memory>

namespace aerate {
namespace {

struct Options {
    std::string name;
    std::string path;
    std::string key;
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
                                 {"sweep", options.sweep},
                                 {"stop", options.stop},
                                 {"replace", options.replace}};
    const std::string answer = TRY(vm.call("PUT", "/aerate/snapshot", request.dump()));
    if (options.json) {
        fmt::print("{}\n", answer);
        return {};
    }
    const auto report = nlohmann::json::parse(answer);
    const auto mib = [&](const char* field) { return report.at(field).get<std::uint64_t>() >> 20; };
    const auto milliseconds = [&](const char* field) { return report.at(field).get<double>() / 1000; };
    fmt::print("wrote {} MiB to {} in {:.0f} ms", mib("data_bytes"), options.path, milliseconds("duration_us"));
    if (!options.stop)
        fmt::print("; the guest stood still for {:.0f} ms", milliseconds("hold_us"));
    if (options.sweep)
        fmt::print("; left out {} MiB that it said is free", mib("omitted_bytes"));
    fmt::print("\n");
    return {};
}

} // namespace

void add_snapshot(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("snapshot", "Save a running VM to a file");
    auto options = std::make_shared<Options>();
    command.add_option("name", options->name, "name of the VM")->required();
    command.add_option("file", options->path, "where to; it appears when it is complete")->required();
    command.add_flag("--sweep", options->sweep, "ask the guest first what is free, and leave that out");
    command.add_flag("--force", options->replace, "replace a snapshot that is there already");
    command.add_flag("--stop", options->stop, "end the VM: it goes on when it is restored");
    command.add_option("--key", options->key, "seal it with the 32 secret bytes of this file")->type_name("FILE");
    command.add_flag("--json", options->json, "print the result as JSON");
    command.callback([options, &chosen] { chosen = [options] { return exit_code(snapshot(*options)); }; });
}

} // namespace aerate
