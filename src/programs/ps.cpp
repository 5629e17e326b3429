#include "control/size.hpp"
#include "control/table.hpp"
#include "programs/commands.hpp"
#include "programs/output.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

namespace aerate {
namespace {

std::string in_words(std::chrono::milliseconds uptime) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(uptime).count();
    return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

void print_as_json(const std::vector<control::VmStatus>& vms) {
    const char* separator = "";
    print("[");
    for (const auto& vm : vms)
        print("{}{}", std::exchange(separator, ","), control::print_status(vm));
    print("]\n");
}

/// Returns the column of the balloon, which says what a guest lacks.
std::string in_balloon(const control::VmStatus& vm) {
    if (!vm.balloon)
        return "none";
    return vm.balloon->driver || vm.state == control::VmState::not_started ? control::in_mib(vm.memory.ballooned)
                                                                           : "no driver";
}

void print_as_table(const std::vector<control::VmStatus>& vms) {
    using Align = control::Table::Align;
    control::Table table({{"NAME", Align::left},
                          {"PID"},
                          {"STATE", Align::left},
                          {"UPTIME", Align::right, 3},
                          {"VCPUS", Align::right, 4},
                          {"RAM"},
                          {"RESIDENT"},
                          {"BALLOON"},
                          {"REPORTED", Align::right, 1},
                          {"MONITOR", Align::right, 2},
                          {"CONFINED", Align::left, 5}});
    for (const auto& vm : vms)
        table.add({vm.name, fmt::to_string(vm.pid), std::string(name_of(vm.state)), in_words(vm.uptime),
                   vm.vcpu_count == 0 ? "-" : fmt::to_string(vm.vcpu_count), control::in_mib(vm.memory.guest_size),
                   control::in_mib(vm.memory.resident), in_balloon(vm), control::in_mib(vm.memory.reported),
                   control::in_mib(vm.memory.monitor_overhead), std::string(control::is_confined(vm.sandbox))});
    print("{}", table.print(output_columns(std::string::npos)));
    for (const auto& vm : vms)
        if (!vm.reason.empty())
            print("{} {}: {}\n", vm.name, vm.state == control::VmState::crashed ? "has crashed" : "waits", vm.reason);
}

int ps(bool json) {
    const RunningVms vms = query_running_vms(std::chrono::seconds(2));
    json ? print_as_json(vms.answered) : print_as_table(vms.answered);
    for (const std::string& name : vms.silent)
        print_error(name + " does not answer");
    return vms.silent.empty() ? 0 : 1;
}

} // namespace

void add_ps(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("ps", "List the running VMs and their memory, in MiB");
    auto json = std::make_shared<bool>(false);
    command.add_flag("--json", *json, "print JSON, in bytes");
    command.callback([json, &chosen] { chosen = [json] { return ps(*json); }; });
}

} // namespace aerate
