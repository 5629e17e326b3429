#include "control/host_metrics.hpp"

#include "control/metrics_writer.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace aerate::control {
namespace {

using Amount = std::pair<const char*, ByteCount>;

/// Returns how much of the host's memory is neither available nor of VMs. What was measured at different moments may
/// add up to more than there is.
ByteCount other_memory(const HostMemory& host) {
    const std::uint64_t known = host.available.value + host.resident.value + host.monitors.value;
    return ByteCount{host.total.value > known ? host.total.value - known : 0};
}

void write_host(MetricsWriter& writer, const HostStatus& status) {
    const HostMemory& host = status.host;
    writer.gauge("host_level", "How short of memory the host is: 0 plenty, 1 tight, 2 shortage, 3 critical.",
                 static_cast<unsigned>(host.level));
    writer.gauge("host_dry_run", "1 when the policy decides and does nothing.", status.dry_run ? 1 : 0);
    writer.gauge("host_vms", "VMs that the policy looks after.", status.vms.size());
    writer.family(
        "host_memory_bytes", "gauge",
        "The host's memory. vms, monitors, available and other add up to total; reserve is kept of available.");
    for (const auto& [state, bytes] :
         {Amount{"total", host.total}, Amount{"available", host.available}, Amount{"reserve", host.reserve},
          Amount{"vms", host.resident}, Amount{"monitors", host.monitors}, Amount{"other", other_memory(host)},
          Amount{"swap_total", host.swap_total}, Amount{"swap_free", host.swap_free}})
        writer.sample(bytes.value, {{"state", state}});
    writer.family("host_promised_bytes", "gauge", "What all VMs together were promised, or need.");
    for (const auto& [what, bytes] : {Amount{"size", host.promised}, Amount{"floor", host.floors},
                                      Amount{"need", host.needs}, Amount{"admitted", host.reserved}})
        writer.sample(bytes.value, {{"what", what}});
    writer.family("host_pressure_seconds_total", "counter",
                  "Time in which tasks of the host waited for memory: some of them, or all (full).");
    writer.sample(exact_seconds(host.some_total), {{"kind", "some"}});
    writer.sample(exact_seconds(host.full_total), {{"kind", "full"}});
}

/// One sample a VM: a number, or nothing where the VM has none.
void write_each(MetricsWriter& writer, const HostStatus& status, std::string_view name, std::string_view type,
                std::string_view help, auto&& value_of) {
    writer.family(name, type, help);
    for (const HostVm& vm : status.vms)
        if (const auto value = value_of(vm))
            writer.sample(*value, {{"vm", vm.name}});
}

struct BytesOfVm {
    const char* name;
    const char* help;
    ByteCount HostVm::* member;
};
constexpr std::array<BytesOfVm, 11> bytes_of_vms{{
    {"vm_size_bytes", "RAM that the guest was promised.", &HostVm::size},
    {"vm_floor_bytes", "What no balloon takes the guest below.", &HostVm::floor},
    {"vm_resident_bytes", "What the host holds of it.", &HostVm::resident},
    {"vm_need_bytes", "What the guest cannot give, by its own word.", &HostVm::need},
    {"vm_guard_bytes", "What is left to it above its need.", &HostVm::guard},
    {"vm_hot_bytes", "File cache that it was seen to miss.", &HostVm::hot},
    {"vm_cold_bytes", "File cache that nobody has missed.", &HostVm::cold},
    {"vm_idle_bytes", "Free memory that the host holds.", &HostVm::idle},
    {"vm_hidden_bytes", "Free memory that the host does not hold.", &HostVm::hidden},
    {"vm_balloon_bytes", "Size of its balloon.", &HostVm::balloon},
    {"vm_target_bytes", "Size that its balloon was asked to have.", &HostVm::target},
}};

void write_times(MetricsWriter& writer, const HostStatus& status) {
    using Seconds = std::optional<std::string>;
    const auto seconds = [](const auto& time) { return time ? Seconds(exact_seconds(*time)) : Seconds(); };
    const auto now = [](const auto& time) {
        return Seconds(exact_seconds(time.value_or(std::chrono::milliseconds{})));
    };
    write_each(writer, status, "vm_statistics_age_seconds", "gauge", "How long ago the guest said how it is.",
               [&](const HostVm& vm) { return seconds(vm.statistics_age); });
    write_each(writer, status, "vm_held_seconds", "gauge", "For how long nothing is taken from it.",
               [&](const HostVm& vm) { return now(vm.held); });
    write_each(writer, status, "vm_paused_seconds", "gauge", "For how long the policy has had it stand still.",
               [&](const HostVm& vm) { return now(vm.paused); });
    write_each(writer, status, "vm_host_stall_seconds_total", "counter",
               "Time in which it waited for the host's memory, of its cgroup.",
               [&](const HostVm& vm) { return seconds(vm.stalled); });
}

void write_vms(MetricsWriter& writer, const HostStatus& status) {
    using Number = std::optional<std::uint64_t>;
    for (const auto& [name, help, member] : bytes_of_vms)
        write_each(writer, status, name, "gauge", help, [&](const HostVm& vm) { return Number((vm.*member).value); });
    write_each(writer, status, "vm_taken_bytes_total", "counter", "What the policy took from it.",
               [](const HostVm& vm) { return Number(vm.taken.value); });
    write_each(writer, status, "vm_given_bytes_total", "counter", "What the policy gave back to it.",
               [](const HostVm& vm) { return Number(vm.given.value); });
    write_each(writer, status, "vm_shares", "gauge", "Its shares of what is short.",
               [](const HostVm& vm) { return Number(vm.shares); });
    write_each(writer, status, "vm_priority", "gauge", "Its priority.",
               [](const HostVm& vm) { return Number(vm.priority); });
    write_each(writer, status, "vm_answers", "gauge", "1 while its monitor answers.",
               [](const HostVm& vm) { return Number(vm.answers ? 1 : 0); });
    write_times(writer, status);
    writer.family("vm_reason", "gauge", "1 for the reason of the policy's latest decision.");
    for (const HostVm& vm : status.vms)
        writer.sample(1, {{"vm", vm.name}, {"reason", vm.reason.name}});
}

} // namespace

std::string print_host_metrics(const HostStatus& status) {
    MetricsWriter writer;
    write_host(writer, status);
    write_vms(writer, status);
    return writer.take();
}

} // namespace aerate::control
