#include "control/size.hpp"
#include "programs/commands.hpp"
#include "programs/report.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>

#include <memory>
#include <optional>

namespace aerate {
namespace {

struct Options {
    std::string name;
    std::optional<std::string> size;
};

Result<ByteCount> target_from(const std::string& size) {
    const ByteCount target = TRY(control::parse_size(size));
    if (target.value % (1U << 20) != 0)
        return fail("size: {} is not a whole number of MiB", size);
    return target;
}

Result<void> set_target(const RunningVm& vm, const std::string& name, ByteCount target) {
    TRY(vm.send(control::PatchBalloon{target}));
    const control::VmStatus status = TRY(vm.status());
    if (status.balloon && !status.balloon->driver && status.state != control::VmState::not_started)
        print_error(fmt::format("{}: the target has no effect yet: {}", name, no_driver_advice));
    return {};
}

Result<void> show(const RunningVm& vm, const std::string& name) {
    const control::VmStatus status = TRY(vm.status());
    if (!status.balloon)
        return fail("{} has no balloon", name);
    print("target {} MiB, actual {} MiB\n", control::in_mib(status.balloon->target),
          control::in_mib(status.balloon->actual));
    if (!status.balloon->driver && status.state != control::VmState::not_started)
        print_error(fmt::format("{}: {}", name, no_driver_advice));
    return {};
}

int balloon(const Options& options) {
    const auto vm = RunningVm::first_of(options.name, options.size.value_or(""));
    if (!vm)
        return wrong_usage(vm.error());
    if (!options.size)
        return exit_code(show(*vm, options.name));
    const auto target = target_from(*options.size);
    return target ? exit_code(set_target(*vm, options.name, *target)) : wrong_usage(target.error());
}

} // namespace

void add_balloon(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("balloon", "Show or set the size of a VM's balloon");
    auto options = std::make_shared<Options>();
    command.add_option("name", options->name, "name of the VM")->required();
    command.add_option("size", options->size, "memory to take from the guest, as in 512M; 0 gives it all back")
        ->option_text("[SIZE]"); // checked later: the arguments may be the wrong way round
    command.callback([options, &chosen] { chosen = [options] { return balloon(*options); }; });
}

} // namespace aerate
