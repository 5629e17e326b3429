#include "control/size.hpp"
#include "control/table.hpp"
#include "programs/commands.hpp"
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
    fmt::print("[");
    for (const auto& vm : vms)
        fmt::print("{}{}", std::exchange(separator, ","), control::print_status(vm));
    fmt::print("]\n");
}

void print_as_table(const std::vector<control::VmStatus>& vms) {
    using Align = control::Table::Align;
    control::Table table({{"NAME", Align::left},
                          {"PID"},
                          {"STATE", Align::left},
                          {"UPTIME"},
                          {"VCPUS"},
                          {"RAM"},
                          {"RESIDENT"},
                          {"BALLOON"},
                          {"REPORTED"},
                          {"MONITOR"}});
    for (const auto& vm : vms)
        table.add({vm.name, fmt::to_string(vm.pid), std::string(name_of(vm.state)), in_words(vm.uptime),
                   vm.vcpu_count == 0 ? "-" : fmt::to_string(vm.vcpu_count), control::in_mib(vm.memory.guest_size),
                   control::in_mib(vm.memory.resident), control::in_mib(vm.memory.ballooned),
                   control::in_mib(vm.memory.reported), control::in_mib(vm.memory.monitor_overhead)});
    fmt::print("{}", table.print());
}

int ps(bool json) {
    const RunningVms vms = survey(std::chrono::seconds(2));
    json ? print_as_json(vms.answered) : print_as_table(vms.answered);
    for (const std::string& name : vms.silent)
        fmt::print(stderr, "aerate: {} does not answer\n", name);
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
