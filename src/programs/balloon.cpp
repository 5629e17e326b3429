#include "control/size.hpp"
#include "programs/commands.hpp"
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

Result<void> balloon(const Options& options) {
    const RunningVm vm = TRY(RunningVm::named(options.name));
    if (options.size) {
        const ByteCount target = TRY(control::parse_size(*options.size));
        if (target.value % (1 << 20) != 0)
            return fail("{} is not a whole number of MiB", *options.size);
        const std::string body = fmt::format(R"({{"amount_mib": {}}})", target.value >> 20);
        TRY(vm.call("PATCH", "/balloon", body));
        return {};
    }
    const control::VmStatus status = TRY(vm.status());
    if (!status.balloon)
        return fail("{} has no balloon", options.name);
    fmt::print("target {} MiB, actual {} MiB\n", control::in_mib(status.balloon->target),
               control::in_mib(status.balloon->actual));
    return {};
}

} // namespace

void add_balloon(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("balloon", "Show or set the size of a VM's balloon");
    auto options = std::make_shared<Options>();
    command.add_option("name", options->name, "name of the VM")->required();
    command.add_option("size", options->size, "memory to take from the guest, as in 512M; 0 gives it all back")
        ->option_text("[SIZE]")
        ->check(check_size);
    command.callback([options, &chosen] { chosen = [options] { return exit_code(balloon(*options)); }; });
}

} // namespace aerate
