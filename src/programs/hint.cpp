#include "programs/commands.hpp"
#include "programs/flags.hpp"
#include "programs/report.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace aerate {
namespace {

struct Options {
    std::string name;
    bool acknowledge = true;
};

using Action = Result<void> (*)(const RunningVm&, const Options&);

Result<void> start(const RunningVm& vm, const Options& options) {
    TRY(vm.send(control::StartHinting{.acknowledge_on_stop = options.acknowledge}));
    return {};
}

Result<void> stop(const RunningVm& vm, const Options&) {
    TRY(vm.send(control::StopHinting{}));
    return {};
}

Result<void> status(const RunningVm& vm, const Options&) {
    print_json(TRY(vm.send(control::GetHintingStatus{})));
    return {};
}

Result<void> hint(const Options& options, Action action) {
    const RunningVm vm = TRY(RunningVm::named(options.name));
    return action(vm, options);
}

} // namespace

void add_hint(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("hint", "Ask a VM's guest which of its pages are free");
    command.require_subcommand(1);
    auto options = std::make_shared<Options>();
    const auto add = [&](const char* word, const char* help, Action action) -> CLI::App& {
        CLI::App& sub = *command.add_subcommand(word, help);
        add_vm_name(sub, options->name);
        sub.callback(
            [options, action, &chosen] { chosen = [options, action] { return exit_code(hint(*options, action)); }; });
        return sub;
    };
    add("start", "Publish a new command ID: the guest starts to hint", start)
        .add_flag("!--no-acknowledge", options->acknowledge, "let the guest hold its free pages until \"stop\"");
    add("stop", "End the run: the guest may use its pages again", stop);
    add("status", "Print the last command IDs of host and guest, as JSON", status);
}

} // namespace aerate
