#include "programs/commands.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

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
    const std::string answer = TRY(vm.call("PUT", "/aerate/sweep"));
    if (options.json) {
        fmt::print("{}\n", answer);
        return {};
    }
    const auto report = nlohmann::json::parse(answer);
    const auto mib = [&](const char* field) { return report.at(field).get<std::uint64_t>() >> 20; };
    const auto milliseconds = [&](const char* field) { return report.at(field).get<double>() / 1000; };
    fmt::print("gave back {} MiB of {} MiB that the guest hinted, in {:.0f} ms; the guest stood still {} times, for "
               "{:.2f} ms at most\n",
               mib("discarded_bytes"), mib("hinted_bytes"), milliseconds("duration_us"),
               report.at("batches").get<unsigned>(), milliseconds("longest_hold_us"));
    if (report.at("cut").get<bool>())
        fmt::print("the guest did not come to the end in time: there may be more\n");
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
