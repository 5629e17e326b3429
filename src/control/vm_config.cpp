#include "control/vm_config.hpp"

#include "base/absolute_path.hpp"
#include "control/runtime_directory.hpp"
#include "control/schema_json.hpp"

#include <algorithm>
#include <set>

namespace aerate::control {

std::string_view check_boot_args(std::string_view text) {
    static_assert(command_line_max == 2047);
    return text.size() > command_line_max ? "must have at most 2047 characters: x86 kernels accept no more" : "";
}

std::string_view check_drive_id(std::string_view id) {
    constexpr std::size_t longest = 64;
    constexpr std::string_view characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    const bool good = !id.empty() && id.size() <= longest && id.find_first_not_of(characters) == id.npos;
    return good ? "" : "must be 1 to 64 letters, digits, '_' or '-'";
}

/// It becomes a word of the kernel's command line.
std::string_view check_partuuid(std::string_view id) {
    constexpr std::size_t longest = 64;
    constexpr std::string_view characters = "ABCDEFabcdef0123456789-";
    const bool good = id.size() <= longest && id.find_first_not_of(characters) == id.npos;
    return good ? "" : "must be hexadecimal digits and '-', as blkid prints it";
}

Result<void> Drive::check(const Drive& drive) {
    if (!drive.partuuid.empty() && !drive.is_root_device)
        return fail("drive.partuuid: says something of the root device only; leave it out");
    if (drive.is_private && drive.is_read_only)
        return fail(
            "drive.is_private: is for what the guest writes, and the drive is_read_only; leave one of them out");
    if (!drive.private_directory.empty() && !drive.is_private)
        return fail("drive.private_directory: is where a private drive keeps what its guest writes; set is_private");
    return {};
}

Result<void> VmConfig::check(const VmConfig& config) {
    return validate(config);
}

Result<VmConfig> parse_vm_config(std::string_view text) {
    auto config = TRY(read_object<VmConfig>(TRY(parse_json(text))));
    config.machine.plain_cpu = false; // "cpu-config", if it is there, comes after
    return config;
}

std::string print_vm_config(const VmConfig& config) {
    return print_json(*print_object(config)); // its sizes are whole numbers of MiB: it was validated
}

VmConfig without_monitor(VmConfig config) {
    config.monitor = {};
    return config;
}

Result<> make_paths_absolute(VmConfig& config) {
    if (config.boot) {
        config.boot->kernel_image_path = TRY(absolute_path(config.boot->kernel_image_path));
        config.boot->initrd_path = TRY(absolute_path(config.boot->initrd_path));
    }
    for (Drive& drive : config.drives) {
        drive.path_on_host = TRY(absolute_path(drive.path_on_host));
        drive.private_directory = TRY(absolute_path(drive.private_directory));
    }
    if (config.monitor.logger && config.monitor.logger->log_path)
        config.monitor.logger->log_path = TRY(absolute_path(*config.monitor.logger->log_path));
    if (config.monitor.metrics)
        config.monitor.metrics->metrics_path = TRY(absolute_path(config.monitor.metrics->metrics_path));
    if (config.monitor.serial && config.monitor.serial->serial_out_path)
        config.monitor.serial->serial_out_path = TRY(absolute_path(*config.monitor.serial->serial_out_path));
    if (config.vsock)
        config.vsock->uds_path = TRY(absolute_path(config.vsock->uds_path));
    return {};
}

VmConfig default_vm_config() {
    return {.balloon = default_balloon, .entropy = EntropyConfig{}};
}

VmConfig firecracker_vm_config(std::string name) {
    return {.name = std::move(name), .machine = {.mem_size = {128ULL << 20}}};
}

void put_drive(VmConfig& config, Drive drive) {
    const auto found = std::ranges::find(config.drives, drive.drive_id, &Drive::drive_id);
    if (found != config.drives.end())
        *found = std::move(drive);
    else
        config.drives.push_back(std::move(drive));
    root_device_first(config.drives);
}

void put_network_interface(VmConfig& config, NetworkInterface interface) {
    auto& all = config.network_interfaces;
    const auto found = std::ranges::find(all, interface.iface_id, &NetworkInterface::iface_id);
    if (found != all.end())
        *found = std::move(interface);
    else
        all.push_back(std::move(interface));
}

void choose_mac_addresses(VmConfig& config) {
    for (NetworkInterface& interface : config.network_interfaces)
        if (interface.guest_mac.empty())
            interface.guest_mac = random_mac();
}

/// Each interface has an ID, an address and a back end of its own.
static Result<void> validate(const std::vector<NetworkInterface>& interfaces, unsigned vcpus) {
    std::set<std::string_view> ids;
    std::set<MacBytes> addresses;
    std::set<std::string_view> taps;
    std::set<std::uint32_t> descriptors;
    for (const NetworkInterface& interface : interfaces) {
        const std::string& id = interface.iface_id;
        if (!ids.insert(id).second)
            return fail("network-interfaces: iface_id {} is used twice", id);
        if (!interface.guest_mac.empty() && !addresses.insert(mac_bytes(interface.guest_mac)).second)
            return fail("network-interfaces: guest_mac {} is used twice", interface.guest_mac);
        if (!interface.host_dev_name.empty() && !taps.insert(interface.host_dev_name).second)
            return fail("network-interfaces: host_dev_name {} is used twice: a tap has one reader",
                        interface.host_dev_name);
        if (interface.fd && !descriptors.insert(*interface.fd).second)
            return fail("network-interfaces: fd {} is used twice", *interface.fd);
        for (const std::uint32_t fd : interface.more_fds)
            if (!descriptors.insert(fd).second)
                return fail("network-interfaces: fd {} is used twice", fd);
        if (interface.pairs() > vcpus)
            return fail("network-interfaces: {} has {} queues and the VM {} vCPUs: one for each at the most", id,
                        interface.pairs(), vcpus);
    }
    return {};
}

void root_device_first(std::vector<Drive>& drives) {
    const auto root = std::ranges::find_if(drives, &Drive::is_root_device);
    if (root != drives.end())
        std::rotate(drives.begin(), root, root + 1);
}

std::string kernel_command_line(const VmConfig& config) {
    std::string line = config.boot->boot_args;
    const auto root = std::ranges::find_if(config.drives, &Drive::is_root_device);
    const bool named = line.starts_with("root=") || line.contains(" root=");
    if (root == config.drives.end() || named)
        return line;
    const auto name = static_cast<char>('a' + (root - config.drives.begin()));
    const std::string device =
        root->partuuid.empty() ? fmt::format("/dev/vd{}", name) : fmt::format("PARTUUID={}", root->partuuid);
    return line + fmt::format("{}root={} {}", line.empty() ? "" : " ", device, root->is_read_only ? "ro" : "rw");
}

Result<void> validate(const MemoryPolicy& policy, ByteCount size) {
    if (policy.floor && policy.floor->value % (1U << 20) != 0)
        return fail("memory-policy.memory_floor_mib: {} bytes are not a whole number of MiB", policy.floor->value);
    if (policy.floor && *policy.floor > size)
        return fail("memory-policy.memory_floor_mib: {} is more than the VM's {} MiB of RAM: no policy could keep that",
                    policy.floor->value >> 20, size.value >> 20);
    return {};
}

Result<void> validate(const VmConfig& config) {
    if (!config.name.empty())
        TRY(validate_vm_name(config.name));
    const MachineConfig& machine = config.machine;
    TRY(MachineConfig::check(machine));
    if (config.balloon && config.balloon->target.value % (1U << 20) != 0)
        return fail("balloon.amount_mib: {} bytes are not a whole number of MiB", config.balloon->target.value);
    if (config.balloon && config.balloon->target > machine.mem_size)
        return fail("balloon.amount_mib: {} is more than the VM's {} MiB of RAM", config.balloon->target.value >> 20,
                    machine.mem_size.value >> 20);
    TRY(validate(config.memory_policy, machine.mem_size));
    if (std::ranges::count_if(config.drives, &Drive::is_root_device) > 1)
        return fail("drives: more than one has is_root_device; set it on one");
    if (config.boot && config.boot->boot_args.size() <= command_line_max &&
        kernel_command_line(config).size() > command_line_max)
        return fail("boot-source.boot_args: leaves no room for root=/dev/vda: x86 kernels accept {} characters",
                    command_line_max);
    std::set<std::string_view> ids;
    for (const Drive& drive : config.drives)
        if (!ids.insert(drive.drive_id).second)
            return fail("drives: drive_id {} is used twice", drive.drive_id);
    TRY(validate(config.network_interfaces, machine.vcpu_count));
    if (config.mmds)
        for (const std::string& id : config.mmds->network_interfaces) {
            const auto found = std::ranges::find(config.network_interfaces, id, &NetworkInterface::iface_id);
            if (found == config.network_interfaces.end())
                return fail("mmds-config.network_interfaces: the VM has no network interface {}", id);
            if (found->pairs() > 1)
                return fail("mmds-config.network_interfaces: {} has {} queues: the metadata service serves a card with "
                            "one",
                            id, found->pairs());
        }
    return {};
}

} // namespace aerate::control
