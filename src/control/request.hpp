// The one schema of the control interface: what can be asked of a VM, and what it can answer. The router makes a
// Request from HTTP, machine/ answers it with a Reply, print_reply() makes HTTP of that again.
#pragma once

#include "control/status.hpp"
#include "control/vm_config.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace aerate::control {

struct GetInstance {};
struct GetVersion {};
struct GetVmConfig {};
struct GetMachineConfig {};
struct PutMachineConfig {
    MachineConfig config;
};
struct PatchMachineConfig {
    MachineConfigUpdate update;
};
struct PutBootSource {
    BootSource source;
};
struct PutDrive {
    Drive drive;
};
struct PutEntropy {};
struct InstanceStart {};
/// On a machine without a keyboard: the power button.
struct SendCtrlAltDel {};
struct SetPaused {
    bool paused;
    bool force = false; ///< resume also a guest that was given away, and whose destination did not answer
};

struct GetBalloon {};
struct PutBalloon {
    BalloonConfig config;
};
struct PatchBalloon {
    ByteCount target;
};
struct GetBalloonStatistics {};
struct PatchBalloonStatistics {
    std::chrono::seconds polling_interval;
};
struct StartHinting {
    bool acknowledge_on_stop = true;
};
struct GetHintingStatus {};
struct StopHinting {};

/// Give all free memory back now.
struct Sweep {};

/// Push the guest's page cache out, and give that back.
struct Squeeze {
    ByteCount keep{}; ///< what the guest shall still be able to use
};

struct TakeSnapshot {
    std::string path{};
    bool diff = false;              ///< only what has changed since the last one, or since the VM was restored
    bool track_dirty_pages = false; ///< from here on, so that diffs can follow
    bool sweep = false;             ///< ask the guest first what is free, and leave that out
    bool stop = false;              ///< end the VM with it: the guest goes on in the file only
    bool replace = false;           ///< a snapshot that is there already
    std::string key_path{};         ///< of 32 secret bytes to seal it with; empty: no secret
    bool quiet = false;             ///< answer with 204, as Firecracker does
};

/// Before the start, in place of a kernel.
struct LoadSnapshot {
    std::string path{};
    std::string key_path{};                                   ///< of the secret that it was sealed with
    bool verify = false;                                      ///< read all of its memory first
    bool resume = false;                                      ///< else the VM waits, paused
    bool track_dirty_pages = false;                           ///< so that diffs can follow
    bool prefetch = true;                                     ///< read its working set ahead, if one was recorded
    std::optional<std::chrono::seconds> record_working_set{}; ///< of this guest, after so much time; then no prefetch
};

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
};
struct GetMigration {};
struct CancelMigration {};

struct GetStatus {};
struct GetMetrics {};
struct Stop {
    enum class How : std::uint8_t { power_button, kill };
    How how;
};

using Request =
    std::variant<GetInstance, GetVersion, GetVmConfig, GetMachineConfig, PutMachineConfig, PatchMachineConfig,
                 PutBootSource, PutDrive, PutEntropy, InstanceStart, SendCtrlAltDel, SetPaused, GetBalloon, PutBalloon,
                 PatchBalloon, GetBalloonStatistics, PatchBalloonStatistics, StartHinting, GetHintingStatus,
                 StopHinting, Sweep, Squeeze, TakeSnapshot, LoadSnapshot, Migrate, GetMigration, CancelMigration,
                 GetStatus, GetMetrics, Stop>;

/// 204: carried out, nothing to say.
struct Done {};
struct Failure {
    unsigned http_status = 400;
    std::string message;
};
/// What was asked does not go with what the VM is doing.
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

using Reply =
    std::variant<Done, Failure, Instance, Version, VmConfig, MachineConfig, BalloonConfig, BalloonStatus, HintingStatus,
                 SweepStatus, SqueezeStatus, SnapshotStatus, MigrationStatus, VmStatus, Metrics>;

} // namespace aerate::control
