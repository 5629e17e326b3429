#include "control/client.hpp"
#include "control/runtime_directory.hpp"
#include "control/schema_json.hpp"
#include "host/doctor.hpp"
#include "host/pressure_trigger.hpp"
#include "programs/flags.hpp"
#include "programs/host_questions.hpp"
#include "programs/output.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>

#include <filesystem>
#include <memory>

namespace aerate {
namespace {

using hostd::Finding;

hostd::HostFacts host_facts(const hostd::HostReading& reading) {
    const auto trigger = hostd::arm_pressure_trigger();
    std::error_code none;
    return {.reading = reading,
            .trigger = trigger ? std::optional(trigger->window) : std::nullopt,
            .unified_cgroups = std::filesystem::exists("/sys/fs/cgroup/cgroup.controllers", none),
            .daemon = query_host(std::chrono::seconds(2)).has_value()};
}

/// Returns what a VM was configured with: nothing where its monitor does not know it.
template <typename T>
std::optional<T> part(const RunningVm& vm, std::string_view path) {
    const auto text = vm.call("GET", path);
    const auto json = text ? control::parse_json(*text) : std::unexpected(text.error());
    auto read = json ? control::read_object<T>(*json, control::Unknown::ignored) : std::unexpected(json.error());
    return read ? std::optional(*std::move(read)) : std::nullopt;
}

Result<hostd::VmFacts> vm_facts(const std::string& name) {
    const RunningVm vm = TRY(RunningVm::named(name, std::chrono::seconds(5)));
    hostd::VmFacts facts{.status = TRY(control::parse_status(TRY(vm.call("GET", "/aerate/status"))))};
    if (const auto machine = part<control::MachineConfig>(vm, "/machine-config"))
        facts.backing = machine->backing;
    facts.balloon = part<control::BalloonConfig>(vm, "/balloon");
    return facts;
}

/// Returns how many there are.
std::size_t print_findings(const std::string& whose, const std::vector<Finding>& findings) {
    for (const Finding& finding : findings)
        print("{}: {}\n    {}\n", whose, finding.what, finding.remedy);
    return findings.size();
}

/// Returns whether there is anything to be said.
Result<bool> examine(const std::string& name) {
    const auto memory = TRY(hostd::HostMemory::open());
    std::size_t found = print_findings("host", hostd::examine(host_facts(TRY(memory.read()))));
    const auto names = name.empty() ? control::list_vms(control::runtime_directory()) : std::vector<std::string>{name};
    for (const std::string& vm : names) {
        const auto facts = vm_facts(vm);
        if (!facts && !name.empty())
            return std::unexpected(facts.error());
        if (facts)
            found += print_findings(vm, hostd::examine(*facts));
    }
    if (found == 0)
        print("nothing to be said\n");
    return found > 0;
}

} // namespace

void add_host_doctor(CLI::App& host, Command& chosen) {
    CLI::App& command =
        *host.add_subcommand("doctor", "Say why VMs' memory stays resident, and what to do: exit status 1 if it does");
    auto name = std::make_shared<std::string>();
    add_vm_name(command, *name)->required(false);
    command.callback([name, &chosen] {
        chosen = [name] {
            const auto found = examine(*name);
            return found ? (*found ? 1 : 0) : report(found.error());
        };
    });
}

} // namespace aerate
