// The one schema of the control interface: what can be asked of a VM, and what it can answer. Each request says where
// it goes (endpoint), what its body is (describe(), see schema.hpp) and what comes back (Answer). The router makes a
// Request from HTTP, machine/ answers it with a Reply, print_reply() makes HTTP of that again; Client::send() is the
// way back.
#pragma once

#include "control/file_grants.hpp"
#include "control/policy_requests.hpp"
#include "control/status.hpp"
#include "control/vm_config.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace aerate::control {

struct GetInstance {
    static constexpr Endpoint endpoint{"GET", "/"};
};
struct GetVersion {
    static constexpr Endpoint endpoint{"GET", "/version"};
};
struct GetVmConfig {
    static constexpr Endpoint endpoint{"GET", "/vm/config"};
};
struct GetMachineConfig {
    static constexpr Endpoint endpoint{"GET", "/machine-config"};
};
struct PutMachineConfig {
    static constexpr Endpoint endpoint{"PUT", "/machine-config"};
    using Body = MachineConfig;
    Body config;
};
struct PatchMachineConfig {
    static constexpr Endpoint endpoint{"PATCH", "/machine-config"};
    using Body = MachineConfigUpdate;
    Body update;
};
struct PutBootSource {
    static constexpr Endpoint endpoint{"PUT", "/boot-source"};
    using Body = BootSource;
    Body source;
};
struct PutDrive {
    static constexpr Endpoint endpoint{"PUT", "/drives/"};
    using Body = Drive;
    Body drive;
    static constexpr std::string_view id_field = "drive.drive_id";
    [[nodiscard]] const std::string& id() const { return drive.drive_id; }
};
struct PatchDrive {
    static constexpr Endpoint endpoint{"PATCH", "/drives/"};
    using Body = DriveUpdate;
    Body update;
    static constexpr std::string_view id_field = "drive.drive_id";
    [[nodiscard]] const std::string& id() const { return update.drive_id; }
};
struct PutNetworkInterface {
    static constexpr Endpoint endpoint{"PUT", "/network-interfaces/"};
    using Body = NetworkInterface;
    Body interface;
    static constexpr std::string_view id_field = "network-interface.iface_id";
    [[nodiscard]] const std::string& id() const { return interface.iface_id; }
};
struct PatchNetworkInterface {
    static constexpr Endpoint endpoint{"PATCH", "/network-interfaces/"};
    using Body = NetworkInterfaceUpdate;
    Body update;
    static constexpr std::string_view id_field = "network-interface.iface_id";
    [[nodiscard]] const std::string& id() const { return update.iface_id; }
};
struct PutEntropy {
    static constexpr Endpoint endpoint{"PUT", "/entropy"};
    using Body = EntropyConfig;
    Body config{};
};
/// The last of this and of a machine-config with a cpu_template counts.
struct PutCpuConfig {
    static constexpr Endpoint endpoint{"PUT", "/cpu-config"};
    using Body = CpuConfig;
    Body config{};
};
struct PutLogger {
    static constexpr Endpoint endpoint{"PUT", "/logger"};
    using Body = LoggerConfig;
    Body config{};
};
struct PutMetrics {
    static constexpr Endpoint endpoint{"PUT", "/metrics"};
    using Body = MetricsConfig;
    Body config{};
};
struct PutSerial {
    static constexpr Endpoint endpoint{"PUT", "/serial"};
    using Body = SerialConfig;
    Body config{};
};

/// PUT /actions is one of these three.
enum class ActionType : std::uint8_t { instance_start, send_ctrl_alt_del, flush_metrics };
struct Action {
    ActionType type{};
    static constexpr Endpoint endpoint{"PUT", "/actions"};
    static constexpr WordList<ActionType, 3> words{{{"InstanceStart", ActionType::instance_start},
                                                    {"SendCtrlAltDel", ActionType::send_ctrl_alt_del},
                                                    {"FlushMetrics", ActionType::flush_metrics}}};
    static void describe(auto& fields, auto& self) { fields("action_type", Word{self.type, words}, mandatory); }
};
struct InstanceStart {};
/// At the keyboard, or, if the guest has no driver for that, the power button.
struct SendCtrlAltDel {};
struct FlushMetrics {};
struct SetPaused {
    bool paused = false;
    bool force = false; ///< resume also a guest that was given away, and whose destination did not answer
    /// The pause ends after this time, unless it is asked for again before: of who may die meanwhile. It is refused
    /// while the VM is paused without end, so that nobody's pause becomes one that ends.
    std::optional<std::chrono::milliseconds> lapse{};

    static constexpr Endpoint endpoint{"PATCH", "/vm"};
    using Answer = Done;
    static constexpr WordList<bool, 2> words{{{"Paused", true}, {"Resumed", false}}};
    static void describe(auto& fields, auto& self) {
        fields("state", Word{self.paused, words}, mandatory);
        if (self.paused)
            fields("for_ms", self.lapse, between(1, 60'000));
        else
            fields("force", self.force, unless_default);
    }
};

struct PutVsock {
    static constexpr Endpoint endpoint{"PUT", "/vsock"};
    using Body = VsockConfig;
    Body config;
};

/// How the guest reaches its metadata; what that is goes by PutMmds.
struct PutMmdsConfig {
    static constexpr Endpoint endpoint{"PUT", "/mmds/config"};
    using Body = MmdsConfig;
    Body config;
};
/// Replaces the metadata. The body is any JSON, which the store reads.
struct PutMmds {
    std::string json;
    static constexpr Endpoint endpoint{"PUT", "/mmds"};
};
/// Merges into the metadata (RFC 7396).
struct PatchMmds {
    std::string json;
    static constexpr Endpoint endpoint{"PATCH", "/mmds"};
};
struct GetMmds {
    static constexpr Endpoint endpoint{"GET", "/mmds"};
};

struct GetBalloon {
    static constexpr Endpoint endpoint{"GET", "/balloon"};
    using Answer = BalloonConfig;
};
struct PutBalloon {
    static constexpr Endpoint endpoint{"PUT", "/balloon"};
    using Body = BalloonConfig;
    Body config;
};
struct PatchBalloon {
    ByteCount target{};

    static constexpr Endpoint endpoint{"PATCH", "/balloon"};
    using Answer = Done;
    static constexpr std::string_view object = "balloon";
    static void describe(auto& fields, auto& self) { fields("amount_mib", Mib{self.target}, balloon_amount); }
};
struct GetBalloonStatistics {
    static constexpr Endpoint endpoint{"GET", "/balloon/statistics"};
};
struct PatchBalloonStatistics {
    std::chrono::seconds polling_interval{};

    static constexpr Endpoint endpoint{"PATCH", "/balloon/statistics"};
    using Answer = Done;
    static constexpr std::string_view object = "balloon";
    static void describe(auto& fields, auto& self) {
        fields("stats_polling_interval_s", self.polling_interval, mandatory_between(0, polling_interval_max));
    }
};
struct StartHinting {
    bool acknowledge_on_stop = true;

    static constexpr Endpoint endpoint{"PATCH", "/balloon/hinting/start"};
    using Answer = Done;
    static void describe(auto& fields, auto& self) { fields("acknowledge_on_stop", self.acknowledge_on_stop); }
};
struct GetHintingStatus {
    static constexpr Endpoint endpoint{"GET", "/balloon/hinting/status"};
    using Answer = HintingStatus;
};
struct StopHinting {
    static constexpr Endpoint endpoint{"PATCH", "/balloon/hinting/stop"};
    using Answer = Done;
};

/// Give all free memory back now.
struct Sweep {
    static constexpr Endpoint endpoint{"PUT", "/aerate/sweep"};
    using Answer = SweepStatus;
};
/// Push the guest's page cache out, and give that back.
struct Squeeze {
    ByteCount keep{}; ///< what the guest can still use afterwards

    static constexpr Endpoint endpoint{"PUT", "/aerate/squeeze"};
    using Answer = SqueezeStatus;
    static void describe(auto& fields, auto& self) { fields("keep_bytes", self.keep, mandatory); }
};

struct TakeSnapshot {
    std::string path{};
    std::string memory_path{};      ///< a file for memory alone; empty: it is in the same file
    bool diff = false;              ///< only what has changed since the last one, or since the VM was restored
    bool track_dirty_pages = false; ///< from here on, so that diffs can follow
    bool sweep = false;             ///< ask the guest first what is free, and leave that out
    bool stop = false;              ///< end the VM with it: the guest goes on in the file only
    bool replace = false;           ///< a snapshot that is there already
    std::string key_path{};         ///< of 32 secret bytes to seal it with; empty: no secret
    bool quiet = false;             ///< answer with 204, as Firecracker does

    static constexpr Endpoint endpoint{"PUT", "/aerate/snapshot"};
    using Answer = SnapshotStatus;
    static void describe(auto& fields, auto& self) {
        fields("snapshot_path", self.path, mandatory);
        fields("diff", self.diff);
        fields("track_dirty_pages", self.track_dirty_pages);
        fields("sweep", self.sweep);
        fields("stop", self.stop);
        fields("replace", self.replace);
        fields("key_path", self.key_path, unless_default);
    }
};

/// Before the start, in place of a kernel.
struct LoadSnapshot {
    std::string path{};
    std::string memory_path{};                                ///< of one that has its memory in a file of its own
    std::string fault_handler{};                              ///< a socket, whose process supplies the memory instead
    std::string key_path{};                                   ///< of the secret that it was sealed with
    bool verify = false;                                      ///< read all of its memory first
    bool resume = false;                                      ///< else the VM waits, paused
    bool track_dirty_pages = false;                           ///< so that diffs can follow
    bool prefetch = true;                                     ///< read its working set ahead, if one was recorded
    std::optional<std::chrono::seconds> record_working_set{}; ///< of this guest, after so much time; then no prefetch
    bool clock_realtime = false; ///< the guest's kvmclock is set forward by the time since it was saved
    bool force = false;          ///< though a disk was written since
    FileGrants grants{};         ///< of this host's files that its guest may have

    static constexpr Endpoint endpoint{"PUT", "/snapshot/load"};
    using Answer = Done;
    static void describe(auto& fields, auto& self) {
        fields("snapshot_path", self.path, mandatory);
        fields("resume_vm", self.resume);
        fields("track_dirty_pages", self.track_dirty_pages);
        fields("verify", self.verify);
        fields("prefetch", self.prefetch);
        fields("clock_realtime", self.clock_realtime);
        fields("force", self.force);
        fields("record_working_set_s", self.record_working_set, between(1, 3600));
        fields("key_path", self.key_path, unless_default);
        fields("drives", self.grants.drives, unless_default);
        fields("network_overrides", self.grants.networks, unless_default);
        fields("files", self.grants.directories, unless_default);
        fields("vsock_override", self.grants.vsock);
        fields("kernel_image_path", self.grants.kernel, unless_default);
        fields("initrd_path", self.grants.initrd, unless_default);
    }
};

inline constexpr unsigned migration_streams_max = 16;
inline constexpr std::uint64_t migration_downtime_max_ms = 600'000;
inline constexpr unsigned migration_rounds_max = 1000;

/// Send the running VM to another monitor.
struct Migrate {
    std::string destination{}; ///< tcp:ADDRESS:PORT or unix:PATH
    std::chrono::milliseconds downtime_limit{300};
    ByteCount bandwidth{}; ///< a second; 0: as much as there is
    unsigned max_rounds = 30;
    bool sweep = false; ///< give free memory back first
    bool verify = false;
    bool auto_converge = false;
    bool force = false;             ///< stop the guest for as long as it takes, should the limit be out of reach
    std::string lease_path{};       ///< a file that the destination has too; empty: none
    std::string record_directory{}; ///< where it is noted that the VM is given away, before it is; empty: nowhere
    std::string compression{"none"};
    unsigned streams = 1;
    ByteCount delta_cache{}; ///< 0: none
    // What keeps strangers off the connection: a secret, or certificates; all are paths but the name.
    std::string psk_path{};
    std::string tls_certificate_path{};
    std::string tls_key_path{};
    std::string tls_ca_path{};
    std::string tls_name{}; ///< in the destination's certificate; empty: its address
    bool plain = false;     ///< none of them, over a network too

    static constexpr Endpoint endpoint{"PUT", "/aerate/migration"};
    using Answer = MigrationStatus;
    static void describe(auto& fields, auto& self) {
        fields("destination", self.destination, mandatory);
        fields("downtime_limit_ms", self.downtime_limit, between(1, migration_downtime_max_ms));
        fields("bandwidth_bytes_per_second", self.bandwidth);
        fields("max_rounds", self.max_rounds, between(1, migration_rounds_max));
        fields("sweep", self.sweep);
        fields("verify", self.verify);
        fields("auto_converge", self.auto_converge);
        fields("force", self.force);
        fields("lease_path", self.lease_path, unless_default);
        fields("record_directory", self.record_directory, unless_default);
        fields("compression", self.compression);
        fields("streams", self.streams, between(1, migration_streams_max));
        fields("delta_cache_bytes", self.delta_cache);
        fields("psk_path", self.psk_path, unless_default);
        fields("tls_certificate_path", self.tls_certificate_path, unless_default);
        fields("tls_key_path", self.tls_key_path, unless_default);
        fields("tls_ca_path", self.tls_ca_path, unless_default);
        fields("tls_name", self.tls_name, unless_default);
        fields("plain", self.plain);
    }
};
struct GetMigration {
    static constexpr Endpoint endpoint{"GET", "/aerate/migration"};
    using Answer = MigrationStatus;
};
struct CancelMigration {
    static constexpr Endpoint endpoint{"DELETE", "/aerate/migration"};
    using Answer = Done;
};

struct GetStatus {
    static constexpr Endpoint endpoint{"GET", "/aerate/status"};
    using Answer = VmStatus;
};
struct GetMetrics {
    static constexpr Endpoint endpoint{"GET", "/metrics"};
};
struct Stop {
    enum class How : std::uint8_t { power_button, kill };
    How how = How::power_button;

    static constexpr Endpoint endpoint{"PUT", "/aerate/stop"};
    using Answer = Done;
    static constexpr WordList<How, 2> words{{{"power-button", How::power_button}, {"kill", How::kill}}};
    static void describe(auto& fields, auto& self) { fields("how", Word{self.how, words}, mandatory); }
};

using Request =
    std::variant<GetInstance, GetVersion, GetVmConfig, GetMachineConfig, PutMachineConfig, PatchMachineConfig,
                 PutBootSource, PutDrive, PatchDrive, PutNetworkInterface, PatchNetworkInterface, PutEntropy,
                 PutCpuConfig, PutVsock, PutMmdsConfig, PutMmds, PatchMmds, GetMmds, PutLogger, PutMetrics, PutSerial,
                 InstanceStart, SendCtrlAltDel, FlushMetrics, SetPaused, GetBalloon, PutBalloon, PatchBalloon,
                 GetBalloonStatistics, PatchBalloonStatistics, StartHinting, GetHintingStatus, StopHinting, Sweep,
                 Squeeze, TakeSnapshot, LoadSnapshot, Migrate, GetMigration, CancelMigration, GetStatus, GetMetrics,
                 GetPulse, GetMemoryMap, GetEvents, PutMemoryPolicy, PutPermit, Stop>;

struct Failure {
    unsigned http_status = 400;
    std::string message;
};
/// Refuses a request that does not fit what the VM is doing.
[[nodiscard]] inline Failure conflict(std::string message) {
    return {409, std::move(message)};
}
struct Instance {
    std::string id;
    VmState state;
};
struct Version {};
struct Metrics {
    VmStatus status;
};
struct Metadata {
    std::string json;
};

using Reply = std::variant<Done, Failure, Instance, Version, VmConfig, MachineConfig, BalloonConfig, BalloonStatus,
                           HintingStatus, SweepStatus, SqueezeStatus, SnapshotStatus, MigrationStatus, VmStatus,
                           Metrics, Metadata, Pulse, MemoryMap, EventStream>;

} // namespace aerate::control
