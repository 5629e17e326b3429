#include "control/size.hpp"
#include "control/table.hpp"
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
    bool json = false;
};

std::string labelled(const control::Counter& counter) {
    std::string text = counter.name;
    for (const auto& [label, value] : counter.labels)
        text += fmt::format(" {}={}", label, value);
    return text;
}

/// Returns whether a statistic is in bytes: balloon/statistics.hpp has them all.
bool is_size(std::string_view name) {
    return name.ends_with("_memory") || name.ends_with("_scan") || name.ends_with("_reclaim") ||
           name.starts_with("swap_") || name == "disk_caches";
}

void print_as_table(const control::VmStatus& vm) {
    using Align = control::Table::Align;
    const std::string vcpus = vm.vcpu_count == 0 ? "balloon only" : fmt::format("{} vCPUs", vm.vcpu_count);
    print("{}: {}, process {}, {}\n", vm.name, name_of(vm.state), vm.pid, vcpus);
    if (!vm.reason.empty())
        print("{}\n", vm.reason);
    if (vm.balloon && !vm.balloon->driver && vm.state != control::VmState::not_started)
        print("no balloon driver: {}\n", no_driver_advice);
    if (vm.balloon && vm.balloon->reports_when_asked)
        print("its balloon driver reports free memory when it is asked: a sweep does not stop the guest\n");
    print("\n");
    control::Table memory({{"MEMORY", Align::left}, {"MIB"}});
    memory.add({"RAM of the guest", control::in_mib(vm.memory.guest_size)});
    memory.add({"resident", control::in_mib(vm.memory.resident)});
    if (vm.memory.shared.value > 0)
        memory.add({"  of it a snapshot's, shared", control::in_mib(vm.memory.shared)});
    memory.add({"ballooned", control::in_mib(vm.memory.ballooned)});
    memory.add({"reported free", control::in_mib(vm.memory.reported)});
    memory.add({"hinted free", control::in_mib(vm.memory.hinted)});
    memory.add({"the monitor's own", control::in_mib(vm.memory.monitor_overhead)});
    if (vm.balloon) {
        memory.add({"balloon target", control::in_mib(vm.balloon->target)});
        memory.add({"balloon actual", control::in_mib(vm.balloon->actual)});
    }
    print("{}", memory.print());
    const auto seconds = [](std::chrono::milliseconds time) {
        return std::chrono::floor<std::chrono::seconds>(time).count();
    };
    if (vm.balloon && vm.balloon->since_taken_back)
        print("\nThe guest ran out of memory {} s ago and took some back from the balloon, whose target was lowered.\n",
              seconds(*vm.balloon->since_taken_back));

    if (vm.balloon && !vm.balloon->statistics.empty()) {
        control::Table sizes({{"GUEST'S MEMORY, BY ITSELF", Align::left}, {"MIB"}});
        control::Table events({{"GUEST'S EVENTS, BY ITSELF", Align::left}, {"COUNT"}});
        for (const auto& [name, value] : vm.balloon->statistics)
            if (is_size(name))
                sizes.add({name, control::in_mib(ByteCount{value})});
            else
                events.add({name, fmt::to_string(value)});
        print("\n{}\n{}", sizes.print(), events.print());
        if (vm.balloon->statistics_old)
            print("OLD: the guest said so {} s ago, and has not answered since.\n",
                  seconds(vm.balloon->statistics_age.value_or(std::chrono::milliseconds{})));
    }
    if (!vm.counters.empty()) {
        control::Table counters({{"COUNTER", Align::left}, {"VALUE"}});
        for (const auto& counter : vm.counters)
            counters.add({labelled(counter), counter.name.ends_with("_bytes")
                                                 ? control::in_mib(ByteCount{counter.value}) + " MiB"
                                                 : fmt::to_string(counter.value)});
        print("\n{}", counters.print());
    }
}

Result<void> stat(const Options& options) {
    const RunningVm vm = TRY(RunningVm::named(options.name));
    const control::VmStatus status = TRY(vm.status());
    if (options.json)
        print_json(status);
    else
        print_as_table(status);
    return {};
}

} // namespace

void add_stat(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("stat", "Show one VM: memory by state, guest statistics, counters");
    auto options = std::make_shared<Options>();
    add_vm_name(command, options->name);
    command.add_flag("--json", options->json, "print JSON, in bytes");
    command.callback([options, &chosen] { chosen = [options] { return exit_code(stat(*options)); }; });
}

} // namespace aerate
