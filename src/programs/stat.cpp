#include "control/size.hpp"
#include "control/table.hpp"
#include "programs/commands.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace aerate {
namespace {

struct Options {
    std::string name;
    bool json = false;
};

std::string labelled(const control::Counter& counter) {
    std::string text = counter.name;
    for (const auto& [label, value] : counter.labels)
        text += fmt::format(" {}={}", label, value);
    return text;
}

void print_as_table(const control::VmStatus& vm) {
    using Align = control::Table::Align;
    const std::string vcpus = vm.vcpu_count == 0 ? "balloon only" : fmt::format("{} vCPUs", vm.vcpu_count);
    fmt::print("{}: {}, process {}, {}\n\n", vm.name, name_of(vm.state), vm.pid, vcpus);
    control::Table memory({{"MEMORY", Align::left}, {"MIB"}});
    memory.add({"RAM of the guest", control::in_mib(vm.memory.guest_size)});
    memory.add({"resident", control::in_mib(vm.memory.resident)});
    memory.add({"ballooned", control::in_mib(vm.memory.ballooned)});
    memory.add({"reported free", control::in_mib(vm.memory.reported)});
    memory.add({"hinted free", control::in_mib(vm.memory.hinted)});
    memory.add({"the monitor's own", control::in_mib(vm.memory.monitor_overhead)});
    if (vm.balloon) {
        memory.add({"balloon target", control::in_mib(vm.balloon->target)});
        memory.add({"balloon actual", control::in_mib(vm.balloon->actual)});
    }
    fmt::print("{}", memory.print());

    if (vm.balloon && !vm.balloon->statistics.empty()) {
        control::Table guest({{"GUEST STATISTIC", Align::left}, {"BYTES OR EVENTS"}});
        for (const auto& [name, value] : vm.balloon->statistics)
            guest.add({name, fmt::to_string(value)});
        fmt::print("\n{}", guest.print());
    }
    if (!vm.counters.empty()) {
        control::Table counters({{"COUNTER", Align::left}, {"VALUE"}});
        for (const auto& counter : vm.counters)
            counters.add({labelled(counter), fmt::to_string(counter.value)});
        fmt::print("\n{}", counters.print());
    }
}

Result<void> stat(const Options& options) {
    const RunningVm vm = TRY(RunningVm::named(options.name));
    if (options.json)
        fmt::print("{}\n", TRY(vm.call("GET", "/aerate/status")));
    else
        print_as_table(TRY(vm.status()));
    return {};
}

} // namespace

void add_stat(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("stat", "Show one VM: memory by state, guest statistics, counters");
    auto options = std::make_shared<Options>();
    command.add_option("name", options->name, "name of the VM")->required();
    command.add_flag("--json", options->json, "print JSON, in bytes");
    command.callback([options, &chosen] { chosen = [options] { return exit_code(stat(*options)); }; });
}

} // namespace aerate
