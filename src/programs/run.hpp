// `aerate run` after its command line: builds the VM, serves its control interface and runs it to its end.
#pragma once

#include "control/vm_config.hpp"
#include "machine/restore.hpp"
#include "programs/receiving.hpp"

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

struct RunOptions {
    control::VmConfig config;
    bool start = true;             ///< false: wait for PUT /actions InstanceStart, or for PATCH /vm when restored
    std::string console = "stdio"; ///< "stdio", "none", or the path of a file
    TestbedUse testbed = TestbedUse::automatic;
    // Where the guest's first life begins, if not with its kernel.
    std::shared_ptr<const OpenedSnapshot> restored{};
    std::optional<ReceiveOptions> receive{};
};

/// Returns the process's exit code.
int run_vm(RunOptions);

} // namespace aerate
