// `aerate run` after its command line: builds the VM, serves its control interface and runs it to its end.
#pragma once

#include "control/firecracker_metrics.hpp"
#include "control/server.hpp"
#include "control/vm_config.hpp"
#include "machine/restore.hpp"
#include "mmds/store.hpp"
#include "programs/detach.hpp"
#include "programs/receiving.hpp"
#include "programs/sandbox_flags.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace aerate {

enum class TestbedUse : std::uint8_t {
    automatic, ///< when this machine's KVM cannot run stock kernels
    always,
    never,
};

struct ApiOptions {
    std::string socket{}; ///< empty: by the VM's name, in the runtime directory
    control::ServerLimits limits{};
};

struct RunOptions {
    control::VmConfig config;
    bool start = true;             ///< false: wait for PUT /actions InstanceStart, or for PATCH /vm when restored
    std::string console = "stdio"; ///< "stdio", "none", "socket", or the path of a file
    bool detach = false;           ///< it has no terminal
    Started started{};             ///< called when the VM runs, or waits for a guest; nothing: nobody waits
    TestbedUse testbed = TestbedUse::automatic;
    SandboxFlags sandbox{};
    bool opens_anything = false; ///< as Firecracker does: no file is kept from it by Landlock
    std::optional<ApiOptions> api = ApiOptions{};
    control::FirecrackerMetrics::StartUp start_up{}; ///< for the metrics
    std::shared_ptr<mmds::Store> metadata = std::make_shared<mmds::Store>();
    bool boot_timer = false; ///< see Machine::Options
    /// As Firecracker: a guest that resets itself ends the process, and a snapshot that nobody else could have changed
    /// has its guest's disks at their own paths.
    bool like_firecracker = false;
    // Where the guest's first life begins, if not with its kernel.
    std::shared_ptr<const OpenedSnapshot> restored{};
    std::optional<ReceiveOptions> receive{};
};

/// Returns the process's exit code.
int run_vm(RunOptions);

} // namespace aerate
