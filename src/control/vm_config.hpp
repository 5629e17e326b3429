// What a VM is made of. The JSON is Firecracker's where both have the thing ("machine-config", "boot-source", "drives",
// "balloon", "entropy"); fields of our own are "name", "backing", "kernel_entry" and "memory-policy". The same text is
// read from `aerate run --config FILE` and printed by GET /vm/config.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "boot/kernel_image.hpp"
#include "control/cpu_config.hpp"
#include "control/machine_config.hpp"
#include "control/memory_policy.hpp"
#include "control/mmds_config.hpp"
#include "control/monitor_config.hpp"
#include "control/network_interface.hpp"
#include "control/rate_limiter_config.hpp"
#include "control/schema.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::control {

inline constexpr WordList<KernelEntry, 3> kernel_entry_words{
    {{"automatic", KernelEntry::automatic}, {"bzimage", KernelEntry::bzimage}, {"pvh", KernelEntry::pvh}}};

/// Says what is wrong with a kernel command line, a drive's name; empty: nothing.
[[nodiscard]] std::string_view check_boot_args(std::string_view);
[[nodiscard]] std::string_view check_drive_id(std::string_view);
[[nodiscard]] std::string_view check_partuuid(std::string_view);

struct BootSource {
    std::string kernel_image_path{};
    std::string initrd_path{}; ///< empty: none
    std::string boot_args{};
    KernelEntry entry = KernelEntry::automatic;
    static constexpr std::string_view object = "boot-source";
    static void describe(auto& fields, auto& self) {
        fields("kernel_image_path", self.kernel_image_path, mandatory.with(not_empty));
        fields("initrd_path", self.initrd_path, unless_default);
        fields("boot_args", self.boot_args, unless_default.with(check_boot_args));
        fields("kernel_entry", Word{self.entry, kernel_entry_words}, unless_default);
    }
    bool operator==(const BootSource&) const = default;
};

enum class CacheType : std::uint8_t { unsafe, writeback };
/// What becomes of a request that the host's disk fails: the guest gets the error, or waits until the disk works.
enum class DriveError : std::uint8_t { report, pause };
enum class IoEngine : std::uint8_t { sync, async };
inline constexpr WordList<CacheType, 2> cache_type_words{
    {{"Unsafe", CacheType::unsafe}, {"Writeback", CacheType::writeback}}};
inline constexpr WordList<DriveError, 2> drive_error_words{
    {{"Report", DriveError::report}, {"Pause", DriveError::pause}}};
inline constexpr WordList<IoEngine, 2> io_engine_words{{{"Sync", IoEngine::sync}, {"Async", IoEngine::async}}};

struct Drive {
    std::string drive_id{};
    std::string path_on_host{};
    bool is_root_device = false;
    bool is_read_only = false;
    CacheType cache_type = CacheType::unsafe;
    IoEngine io_engine = IoEngine::async;
    DriveError on_error = DriveError::report;
    /// What the guest writes is kept in a file without a name for as long as the VM lives, and path_on_host stays as it
    /// is: see block/private_layer.hpp.
    bool is_private = false;
    std::string private_directory{}; ///< where that file is; empty: beside path_on_host
    /// What a snapshot keeps of the disk, to find out whether it was written since; empty: nothing is known.
    std::string saved_as{};
    std::optional<RateLimiterConfig> rate_limiter{};
    std::string partuuid{}; ///< of the root device's partition that the kernel mounts; empty: the whole device
    [[nodiscard]] static Result<void> check(const Drive&);
    static constexpr std::string_view object = "drive";
    static void describe(auto& fields, auto& self) {
        fields.refuse("socket", "vhost-user drives are not supported; give path_on_host");
        fields("drive_id", self.drive_id, mandatory.with(check_drive_id));
        fields("path_on_host", self.path_on_host, mandatory.with(not_empty));
        fields("is_root_device", self.is_root_device, mandatory);
        fields("is_read_only", self.is_read_only);
        fields("cache_type", Word{self.cache_type, cache_type_words});
        fields("io_engine", Word{self.io_engine, io_engine_words});
        // A monitor of an older release, to which the guest may move, does not know these.
        fields("on_error", Word{self.on_error, drive_error_words}, unless_default);
        fields("is_private", self.is_private, unless_default);
        fields("private_directory", self.private_directory, unless_default);
        fields("saved_as", self.saved_as, unless_default);
        fields("partuuid", self.partuuid, unless_default.with(check_partuuid));
        fields("rate_limiter", self.rate_limiter);
    }
    bool operator==(const Drive&) const = default;
};

/// What a PATCH changes of a drive while the guest runs; what is absent stays.
struct DriveUpdate {
    std::string drive_id{};
    std::optional<std::string> path_on_host{};
    std::optional<RateLimiterConfig> rate_limiter{};
    static constexpr std::string_view object = "drive";
    static void describe(auto& fields, auto& self) {
        fields("drive_id", self.drive_id, mandatory.with(check_drive_id));
        fields("path_on_host", self.path_on_host, Rule{}.with(not_empty));
        fields("rate_limiter", self.rate_limiter);
    }
};

/// A balloon's size, as far as it does not depend on the VM.
inline constexpr Rule balloon_amount = mandatory_between(0, mem_size_max.value >> 20);
inline constexpr std::uint64_t polling_interval_max = 65535;

struct BalloonConfig {
    ByteCount target{};
    bool deflate_on_oom = false;
    std::chrono::seconds stats_polling_interval{}; ///< 0: no statistics
    bool free_page_hinting = false;
    bool free_page_reporting = false;
    static constexpr std::string_view object = "balloon";
    static void describe(auto& fields, auto& self) {
        fields("amount_mib", Mib{self.target}, balloon_amount);
        fields("deflate_on_oom", self.deflate_on_oom, mandatory);
        fields("stats_polling_interval_s", self.stats_polling_interval, between(0, polling_interval_max));
        fields("free_page_hinting", self.free_page_hinting);
        fields("free_page_reporting", self.free_page_reporting);
    }
    bool operator==(const BalloonConfig&) const = default;
};

/// Firecracker's, and how many connections there may be.
struct VsockConfig {
    std::uint32_t guest_cid = 0;
    std::string uds_path{};
    std::string vsock_id{}; ///< Firecracker's older name for it; printed again, and used for nothing
    unsigned max_connections = 1024;
    static constexpr std::string_view object = "vsock";
    static void describe(auto& fields, auto& self) {
        fields("guest_cid", self.guest_cid, mandatory_between(3, 0xffff'fffe)); // the others are reserved
        fields("uds_path", self.uds_path, mandatory.with(names_socket));
        fields("vsock_id", self.vsock_id, unless_default.with(check_drive_id));
        fields("max_connections", self.max_connections, between(1, 16384));
    }
    bool operator==(const VsockConfig&) const = default;
};

struct EntropyConfig {
    std::optional<RateLimiterConfig> rate_limiter{};
    static constexpr std::string_view object = "entropy";
    static void describe(auto& fields, auto& self) { fields("rate_limiter", self.rate_limiter); }
    bool operator==(const EntropyConfig&) const = default;
};

inline constexpr std::string_view no_pmem = "pmem devices are not supported; give the file as a drive";
inline constexpr std::string_view no_memory_hotplug =
    "memory hotplug is not supported; give the VM all of its RAM, which costs the host only what the guest uses";

struct VmConfig {
    std::string name{};
    MachineConfig machine{};
    std::optional<BootSource> boot{};
    std::vector<Drive> drives{};
    std::vector<NetworkInterface> network_interfaces{};
    std::optional<BalloonConfig> balloon{};
    std::optional<EntropyConfig> entropy{};
    std::optional<VsockConfig> vsock{};
    std::optional<MmdsConfig> mmds{};
    std::optional<CpuConfig> cpu{};
    MemoryPolicy memory_policy{};
    MonitorConfig monitor{}; ///< of this process: it goes into no snapshot, and moves with no guest
    static void describe(auto& fields, auto& self) {
        fields("name", self.name, unless_default);
        fields("machine-config", self.machine);
        fields("boot-source", self.boot);
        fields("drives", self.drives);
        fields("network-interfaces", self.network_interfaces, unless_default);
        fields("balloon", self.balloon);
        fields("entropy", self.entropy);
        fields("vsock", self.vsock);
        fields("mmds-config", self.mmds);
        fields("cpu-config", self.cpu);
        fields("memory-policy", self.memory_policy, unless_default);
        fields("logger", self.monitor.logger);
        fields("metrics", self.monitor.metrics);
        fields("serial", self.monitor.serial);
        // What Firecracker's files have, and Aerate does not. An empty list asks for nothing.
        fields.only("pmem", std::vector<std::string>{}, no_pmem);
        fields.refuse("memory-hotplug", no_memory_hotplug);
    }
    [[nodiscard]] static Result<void> check(const VmConfig&);
    bool operator==(const VmConfig&) const = default;
};

[[nodiscard]] Result<VmConfig> parse_vm_config(std::string_view json);
[[nodiscard]] std::string print_vm_config(const VmConfig&);
/// What a guest takes along.
[[nodiscard]] VmConfig without_monitor(VmConfig);

/// Makes every path the same for every process, by putting the current directory before relative ones: they are the
/// word of whoever gave them to this process, and mean nothing in another directory.
[[nodiscard]] Result<> make_paths_absolute(VmConfig&);

/// Returns Firecracker's machine before anything is configured.
[[nodiscard]] VmConfig firecracker_vm_config(std::string name);
/// Returns what `aerate run` starts from without a --config file: a balloon with everything that gives memory back
/// switched on, and an entropy device.
[[nodiscard]] VmConfig default_vm_config();
inline constexpr BalloonConfig default_balloon{
    .target = {},
    .deflate_on_oom = true,
    .stats_polling_interval = std::chrono::seconds(5),
    .free_page_hinting = true,
    .free_page_reporting = true,
};

/// Puts the drive in, in place of the one that has its drive_id. The root device comes first, so that it is /dev/vda.
void put_drive(VmConfig&, Drive);

/// Puts the interface in, in place of the one that has its iface_id.
void put_network_interface(VmConfig&, NetworkInterface);

/// Gives a MAC address to those interfaces that have none: it is the guest's from then on.
void choose_mac_addresses(VmConfig&);

/// Moves the root device, if there is one, to the front; the others keep their order.
void root_device_first(std::vector<Drive>&);

/// Returns boot_args, and " root=/dev/vda rw" (ro for a drive that is read-only), as Firecracker adds it, when there is
/// a root device and boot_args do not name a root. REQUIRES: there is a boot source.
[[nodiscard]] std::string kernel_command_line(const VmConfig&);

/// Fails if a VM of this size cannot be left the floor.
[[nodiscard]] Result<void> validate(const MemoryPolicy&, ByteCount size);
/// Checks what no single field shows: the balloon against RAM, one root device, distinct drive ids.
[[nodiscard]] Result<void> validate(const VmConfig&);

} // namespace aerate::control
